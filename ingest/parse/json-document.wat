;; Follows a JSON document to the values that are wanted in it, passes over the rest 16 bytes at a time, and says where it is
;; no JSON. It works in the memory of batch-memory.wat, and writes nothing there but where values stand.
;;
;; Addresses are below 2^31. A function gives the address behind what it passed over, or ~a (below 0) where the byte at a
;; cannot stand there. A newline ends every document: it stands behind the text, and is no blank here.
;;
;; What is wanted is a tree of places (JsonPlace), written by json-document.ts. A place is six words, the first five addresses; 0
;; stands for nothing:
;;    0 of the keys that are wanted: by slot (keySlot) the address of a list of texts, for find_text, whose values are places
;;    4 of the list of entries that are wanted: their number, and the place of each
;;    8 of the place of any further entry
;;   12 of the list of columns that have their value here: their number, and for each the address where the value's start is
;;      written; its end is written 4104 bytes further on
;;   16 of the list of columns that have their value here or further in
;;   20 1 where a % in a text is no character but an escape
(module
  (import "batch" "memory" (memory 2))
  (import "batch" "find_text" (func $find_text (param i32 i32 i32) (result i32)))
  ;; wanted_key(place, from, end): place of the value of the key in [from, end), which has escapes, or 0
  (import "splitter" "wanted_key" (func $wanted_key (param i32 i32 i32) (result i32)))
  ;; rewrite(place, from, end): takes the text in [from, end), which is not as it is to be read, as the value of a place
  (import "splitter" "rewrite" (func $rewrite (param i32 i32 i32)))
  ;; What the last fault is: 1 no JSON, 2 no object, 3 an object or array that is nested too deeply.
  (global $fault (export "fault") (mut i32) (i32.const 0))
  ;; Whether the last string has escapes.
  (global $escaped (mut i32) (i32.const 0))
  ;; Where the document begins.
  (global $document (mut i32) (i32.const 0))

  (func $pass_blanks (param $at i32) (result i32)
    (local $byte i32)
    (loop $next
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.le_u (local.get $byte) (i32.const 0x20))
        (then
          ;; space, tab or carriage return
          (if (i32.or (i32.eq (local.get $byte) (i32.const 0x20))
                (i32.or (i32.eq (local.get $byte) (i32.const 0x09)) (i32.eq (local.get $byte) (i32.const 0x0d))))
            (then
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br $next))))))
    (local.get $at))

  ;; The string whose text begins at `at`: gives the address of its closing quote.
  (func $pass_string (param $at i32) (result i32)
    (local $bytes v128) (local $ends i32) (local $byte i32) (local $digits_end i32)
    (loop $next
      (local.set $bytes (v128.load align=1 (local.get $at)))
      ;; a backslash, or a control character or quote: with one bit turned over the quote stands right behind those, and with
      ;; another one processors can compare them
      (local.set $ends (i8x16.bitmask (v128.or
        (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 0x5c)))
        (i8x16.lt_s
          (v128.xor (local.get $bytes) (i8x16.splat (i32.const 0x82)))
          (i8x16.splat (i32.const 0xa1))))))
      (if (i32.eqz (local.get $ends))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br $next)))
      (local.set $at (i32.add (local.get $at) (i32.ctz (local.get $ends))))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x22)) (then (return (local.get $at))))
      (if (i32.ne (local.get $byte) (i32.const 0x5c)) (then (return (i32.xor (local.get $at) (i32.const -1)))))
      (global.set $escaped (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x75))
        (then
          ;; \u and four hexadecimal digits
          (local.set $digits_end (i32.add (local.get $at) (i32.const 4)))
          (loop $digit
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $byte (i32.load8_u (local.get $at)))
            (if (i32.and
                  (i32.gt_u (i32.sub (local.get $byte) (i32.const 0x30)) (i32.const 9))
                  (i32.gt_u (i32.sub (i32.or (local.get $byte) (i32.const 0x20)) (i32.const 0x61)) (i32.const 5)))
              (then (return (i32.xor (local.get $at) (i32.const -1)))))
            (br_if $digit (i32.lt_u (local.get $at) (local.get $digits_end)))))
        (else
          ;; one of b f n r t " \ /
          (if (i32.eqz (i32.or
                (i32.or
                  (i32.or (i32.eq (local.get $byte) (i32.const 0x62)) (i32.eq (local.get $byte) (i32.const 0x66)))
                  (i32.or (i32.eq (local.get $byte) (i32.const 0x6e)) (i32.eq (local.get $byte) (i32.const 0x72))))
                (i32.or
                  (i32.or (i32.eq (local.get $byte) (i32.const 0x74)) (i32.eq (local.get $byte) (i32.const 0x22)))
                  (i32.or (i32.eq (local.get $byte) (i32.const 0x5c)) (i32.eq (local.get $byte) (i32.const 0x2f))))))
            (then (return (i32.xor (local.get $at) (i32.const -1)))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; One digit or more.
  (func $pass_digits (param $at i32) (result i32)
    (local $from i32)
    (local.set $from (local.get $at))
    (block $done
      (loop $next
        (br_if $done
          (i32.gt_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 0x30)) (i32.const 9)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (select (local.get $at) (i32.xor (local.get $at) (i32.const -1)) (i32.gt_u (local.get $at) (local.get $from))))

  ;; The four bytes of `word`.
  (func $pass_word (param $at i32) (param $word i32) (result i32)
    (local $difference i32)
    (local.set $difference (i32.xor (i32.load align=1 (local.get $at)) (local.get $word)))
    (if (i32.eqz (local.get $difference)) (then (return (i32.add (local.get $at) (i32.const 4)))))
    ;; the first byte that differs
    (i32.xor (i32.const -1)
      (i32.add (local.get $at) (i32.shr_u (i32.ctz (local.get $difference)) (i32.const 3)))))

  ;; A number, true, false or null.
  (func $pass_token (param $at i32) (result i32)
    (local $byte i32)
    (local.set $byte (i32.load8_u (local.get $at)))
    (if (i32.eq (local.get $byte) (i32.const 0x74))
      (then (return (call $pass_word (local.get $at) (i32.const 0x65757274)))))
    (if (i32.eq (local.get $byte) (i32.const 0x6e))
      (then (return (call $pass_word (local.get $at) (i32.const 0x6c6c756e)))))
    (if (i32.eq (local.get $byte) (i32.const 0x66))
      (then (return (call $pass_word (i32.add (local.get $at) (i32.const 1)) (i32.const 0x65736c61)))))
    (if (i32.eq (local.get $byte) (i32.const 0x2d)) (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x30))
      (then (local.set $at (i32.add (local.get $at) (i32.const 1))))
      (else
        (local.set $at (call $pass_digits (local.get $at)))
        (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x2e))
      (then
        (local.set $at (call $pass_digits (i32.add (local.get $at) (i32.const 1))))
        (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))))
    ;; e or E
    (if (i32.ne (i32.or (i32.load8_u (local.get $at)) (i32.const 0x20)) (i32.const 0x65))
      (then (return (local.get $at))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (local.set $byte (i32.load8_u (local.get $at)))
    (if (i32.or (i32.eq (local.get $byte) (i32.const 0x2b)) (i32.eq (local.get $byte) (i32.const 0x2d)))
      (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (call $pass_digits (local.get $at)))

  ;; What stands behind a key's closing quote: gives the address of the value.
  (func $pass_colon (param $at i32) (result i32)
    (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
      (then (local.set $at (call $pass_blanks (local.get $at)))))
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x3a))
      (then (return (i32.xor (local.get $at) (i32.const -1)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
      (then (return (call $pass_blanks (local.get $at)))))
    (local.get $at))

  ;; A key and its colon.
  (func $pass_key (param $at i32) (result i32)
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x22))
      (then (return (i32.xor (local.get $at) (i32.const -1)))))
    (local.set $at (call $pass_string (i32.add (local.get $at) (i32.const 1))))
    (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
    (call $pass_colon (i32.add (local.get $at) (i32.const 1))))

  ;; A value of any kind. At most `levels` objects and arrays in one another, 128 or less: which of them are
  ;; objects stands in as many bits.
  (func $pass_value (param $at i32) (param $levels i32) (result i32)
    (local $byte i32) (local $level i32) (local $is_object i32) (local $low i64) (local $high i64)
    (loop $value
      (block $behind_value
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.eq (local.get $byte) (i32.const 0x22))
          (then
            (local.set $at (call $pass_string (i32.add (local.get $at) (i32.const 1))))
            (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $behind_value)))
        ;; { or [
        (if (i32.eq (i32.or (local.get $byte) (i32.const 0x20)) (i32.const 0x7b))
          (then
            (if (i32.eq (local.get $level) (local.get $levels))
              (then
                (global.set $fault (i32.const 3))
                (return (i32.xor (local.get $at) (i32.const -1)))))
            ;; the kind of the one around is kept
            (local.set $high (i64.or (i64.shl (local.get $high) (i64.const 1))
              (i64.shr_u (local.get $low) (i64.const 63))))
            (local.set $low (i64.or (i64.shl (local.get $low) (i64.const 1))
              (i64.extend_i32_u (local.get $is_object))))
            (local.set $level (i32.add (local.get $level) (i32.const 1)))
            (local.set $is_object (i32.eq (local.get $byte) (i32.const 0x7b)))
            (local.set $at (call $pass_blanks (i32.add (local.get $at) (i32.const 1))))
            ;; closed at once
            (br_if $behind_value (i32.eq (i32.load8_u (local.get $at))
              (i32.add (i32.const 0x5d) (i32.shl (local.get $is_object) (i32.const 5)))))
            (if (local.get $is_object)
              (then
                (local.set $at (call $pass_key (local.get $at)))
                (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))))
            (br $value)))
        (local.set $at (call $pass_token (local.get $at)))
        (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at)))))
      (loop $behind
        (if (i32.eqz (local.get $level)) (then (return (local.get $at))))
        (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
          (then (local.set $at (call $pass_blanks (local.get $at)))))
        (local.set $byte (i32.load8_u (local.get $at)))
        (if (i32.eq (local.get $byte) (i32.const 0x2c))
          (then
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
              (then (local.set $at (call $pass_blanks (local.get $at)))))
            (if (local.get $is_object)
              (then
                (local.set $at (call $pass_key (local.get $at)))
                (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))))
            (br $value)))
        ;; ] or }
        (if (i32.ne (local.get $byte) (i32.add (i32.const 0x5d) (i32.shl (local.get $is_object) (i32.const 5))))
          (then (return (i32.xor (local.get $at) (i32.const -1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $level (i32.sub (local.get $level) (i32.const 1)))
        (local.set $is_object (i32.wrap_i64 (i64.and (local.get $low) (i64.const 1))))
        (local.set $low (i64.or (i64.shr_u (local.get $low) (i64.const 1))
          (i64.shl (local.get $high) (i64.const 63))))
        (local.set $high (i64.shr_u (local.get $high) (i64.const 1)))
        (br $behind)))
    (unreachable))

  ;; Whether a % stands in the text [at, end).
  (func $has_percent (param $at i32) (param $end i32) (result i32)
    (local $found i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $found (i8x16.bitmask (i8x16.eq (v128.load align=1 (local.get $at)) (i8x16.splat (i32.const 0x25)))))
        (if (local.get $found)
          (then (return (i32.lt_u (i32.add (local.get $at) (i32.ctz (local.get $found))) (local.get $end)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next)))
    (i32.const 0))

  ;; Writes where a value stands for a list of columns.
  (func $set (param $columns i32) (param $start i32) (param $end i32)
    (local $last i32) (local $slot i32)
    (local.set $last (i32.add (local.get $columns) (i32.shl (i32.load (local.get $columns)) (i32.const 2))))
    (block $done
      (loop $column
        (br_if $done (i32.ge_u (local.get $columns) (local.get $last)))
        (local.set $columns (i32.add (local.get $columns) (i32.const 4)))
        (local.set $slot (i32.load (local.get $columns)))
        (i32.store (local.get $slot) (local.get $start))
        (i32.store offset=4104 (local.get $slot) (local.get $end))
        (br $column))))

  ;; The value at `at`, which or something in which is wanted.
  (func $read_value (param $at i32) (param $place i32) (param $levels i32) (result i32)
    (local $byte i32) (local $end i32) (local $columns i32)
    ;; what stood here before is replaced: a key that occurs again, an entry that was not the last one
    (call $set (i32.load offset=16 (local.get $place)) (global.get $document) (global.get $document))
    (local.set $columns (i32.load offset=12 (local.get $place)))
    (local.set $byte (i32.load8_u (local.get $at)))
    (if (i32.eq (local.get $byte) (i32.const 0x22))
      (then
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (global.set $escaped (i32.const 0))
        (local.set $end (call $pass_string (local.get $at)))
        (if (i32.lt_s (local.get $end) (i32.const 0)) (then (return (local.get $end))))
        (if (i32.eqz (global.get $escaped))
          (then (if (i32.load offset=20 (local.get $place))
            (then (global.set $escaped (call $has_percent (local.get $at) (local.get $end)))))))
        (if (global.get $escaped)
          (then (call $rewrite (local.get $place) (local.get $at) (local.get $end)))
          (else (call $set (local.get $columns) (local.get $at) (local.get $end))))
        (return (i32.add (local.get $end) (i32.const 1)))))
    (if (i32.eq (local.get $byte) (i32.const 0x7b))
      (then
        (call $set (local.get $columns) (local.get $at) (i32.const -1))
        (if (i32.load (local.get $place))
          (then (return (call $read_object (local.get $at) (local.get $place) (i32.sub (local.get $levels) (i32.const 1))))))
        (return (call $pass_value (local.get $at) (local.get $levels)))))
    (if (i32.eq (local.get $byte) (i32.const 0x5b))
      (then
        (call $set (local.get $columns) (local.get $at) (i32.const -1))
        (if (i32.load offset=4 (local.get $place))
          (then (return (call $read_array (local.get $at) (local.get $place) (i32.sub (local.get $levels) (i32.const 1))))))
        (return (call $pass_value (local.get $at) (local.get $levels)))))
    (local.set $end (call $pass_token (local.get $at)))
    (if (i32.lt_s (local.get $end) (i32.const 0)) (then (return (local.get $end))))
    ;; null is empty
    (call $set (local.get $columns) (local.get $at)
      (select (local.get $at) (local.get $end) (i32.eq (local.get $byte) (i32.const 0x6e))))
    (local.get $end))

  ;; The object at `at`, of which keys are wanted.
  (func $read_object (param $at i32) (param $place i32) (param $levels i32) (result i32)
    (local $slots i32) (local $key i32) (local $value i32) (local $byte i32)
    (local.set $slots (i32.load (local.get $place)))
    (local.set $at (call $pass_blanks (i32.add (local.get $at) (i32.const 1))))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x7d)) (then (return (i32.add (local.get $at) (i32.const 1)))))
    (loop $member
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x22))
        (then (return (i32.xor (local.get $at) (i32.const -1)))))
      (local.set $key (local.get $at))
      (global.set $escaped (i32.const 0))
      (local.set $at (call $pass_string (i32.add (local.get $key) (i32.const 1))))
      (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
      ;; the slot: its length counts with the first quote; of an empty key both bytes are that quote
      (local.set $value (i32.load (i32.add (local.get $slots) (i32.shl
        (i32.and (i32.const 63) (i32.add
          (i32.mul (i32.sub (local.get $at) (local.get $key)) (i32.const 5))
          (i32.add
            (i32.mul (i32.load8_u offset=1 (local.get $key)) (i32.const 3))
            (i32.load8_u (i32.sub (local.get $at) (i32.const 1))))))
        (i32.const 2)))))
      (if (local.get $value)
        (then (local.set $value
          (call $find_text (local.get $value) (i32.add (local.get $key) (i32.const 1)) (local.get $at)))))
      (if (global.get $escaped)
        (then (local.set $value
          (call $wanted_key (local.get $place) (i32.add (local.get $key) (i32.const 1)) (local.get $at)))))
      ;; `:"`, what most keys are followed by
      (if (i32.eq (i32.load16_u offset=1 align=1 (local.get $at)) (i32.const 0x223a))
        (then (local.set $at (i32.add (local.get $at) (i32.const 2))))
        (else
          (local.set $at (call $pass_colon (i32.add (local.get $at) (i32.const 1))))
          (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))))
      (if (local.get $value)
        (then (local.set $at (call $read_value (local.get $at) (local.get $value) (local.get $levels))))
        (else
          (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x22))
            (then
              (local.set $at (call $pass_string (i32.add (local.get $at) (i32.const 1))))
              (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
              (local.set $at (i32.add (local.get $at) (i32.const 1))))
            (else (local.set $at (call $pass_value (local.get $at) (local.get $levels)))))))
      (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
      ;; `,"`, what most values are followed by
      (if (i32.eq (i32.load16_u align=1 (local.get $at)) (i32.const 0x222c))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $member)))
      (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
        (then (local.set $at (call $pass_blanks (local.get $at)))))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x2c))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
            (then (local.set $at (call $pass_blanks (local.get $at)))))
          (br $member)))
      (if (i32.eq (local.get $byte) (i32.const 0x7d)) (then (return (i32.add (local.get $at) (i32.const 1))))))
    (i32.xor (local.get $at) (i32.const -1)))

  ;; The array at `at`, of which entries are wanted.
  (func $read_array (param $at i32) (param $place i32) (param $levels i32) (result i32)
    (local $entry i32) (local $last i32) (local $value i32) (local $byte i32)
    (local.set $entry (i32.load offset=4 (local.get $place)))
    (local.set $last (i32.add (local.get $entry) (i32.shl (i32.load (local.get $entry)) (i32.const 2))))
    (local.set $at (call $pass_blanks (i32.add (local.get $at) (i32.const 1))))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x5d)) (then (return (i32.add (local.get $at) (i32.const 1)))))
    (loop $next
      (local.set $value (i32.load offset=8 (local.get $place)))
      (if (i32.lt_u (local.get $entry) (local.get $last))
        (then
          (local.set $entry (i32.add (local.get $entry) (i32.const 4)))
          (local.set $value (i32.load (local.get $entry)))))
      (if (local.get $value)
        (then (local.set $at (call $read_value (local.get $at) (local.get $value) (local.get $levels))))
        (else (local.set $at (call $pass_value (local.get $at) (local.get $levels)))))
      (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
      (local.set $at (call $pass_blanks (local.get $at)))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x2c))
        (then
          (local.set $at (call $pass_blanks (i32.add (local.get $at) (i32.const 1))))
          (br $next)))
      (if (i32.eq (local.get $byte) (i32.const 0x5d)) (then (return (i32.add (local.get $at) (i32.const 1))))))
    (i32.xor (local.get $at) (i32.const -1)))

  ;; read_document(from, place, levels): reads the object from `from` on, place that of the document, with at most so many objects
  ;; and arrays in one another (see $pass_value), and gives the address of the newline
  ;; behind it, or ~ that of the fault. Columns whose values are not there are empty, at `from`; one that would be an object
  ;; or array has the end -1.
  (func (export "read_document") (param $from i32) (param $place i32) (param $levels i32) (result i32)
    (local $at i32)
    (global.set $document (local.get $from))
    (call $set (i32.load offset=16 (local.get $place)) (local.get $from) (local.get $from))
    (local.set $at (call $pass_blanks (local.get $from)))
    (global.set $fault (i32.const 2))
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x7b)) (then (return (i32.xor (local.get $at) (i32.const -1)))))
    (global.set $fault (i32.const 1))
    (local.set $at (call $read_object (local.get $at) (local.get $place) (local.get $levels)))
    (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
    (local.set $at (call $pass_blanks (local.get $at)))
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x0a)) (then (return (i32.xor (local.get $at) (i32.const -1)))))
    (local.get $at)))
