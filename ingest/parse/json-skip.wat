;; Passes over the parts of a JSON document that are not wanted, 16 bytes at a time, and says where it is no JSON. It works
;; in the memory of batch-memory.wat and writes nothing there. JsonSplitter follows what is wanted.
;;
;; Addresses are below 2^31. A function gives the address behind what it passed over, or ~a (below 0) where the byte at a
;; cannot stand there. A newline ends every document: it stands behind the text, and is no blank here.
(module
  (import "batch" "memory" (memory 2))
  ;; Whether the last fault is an object or array that is nested too deeply.
  (global $too_deep (export "too_deep") (mut i32) (i32.const 0))
  ;; Whether the last string has escapes.
  (global $escaped (mut i32) (i32.const 0))

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
      ;; a quote, a backslash, or a control character
      (local.set $ends (i8x16.bitmask (v128.or
        (v128.or
          (i8x16.eq (local.get $bytes) (v128.const i32x4 0x22222222 0x22222222 0x22222222 0x22222222))
          (i8x16.eq (local.get $bytes) (v128.const i32x4 0x5c5c5c5c 0x5c5c5c5c 0x5c5c5c5c 0x5c5c5c5c)))
        (i8x16.lt_u (local.get $bytes) (v128.const i32x4 0x20202020 0x20202020 0x20202020 0x20202020)))))
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
  (func $pass_value (export "pass_value") (param $at i32) (param $levels i32) (result i32)
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
                (global.set $too_deep (i32.const 1))
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

  ;; The members of an object from the key at `at` on, up to one that may be wanted, or to the object's end: gives the address of
  ;; that key's quote or of the closing bracket. A key may be wanted where the bit of its slot (keySlot in
  ;; json-paths.ts) is set in slots_low or slots_high, or where it has escapes.
  (func (export "pass_members")
    (param $at i32) (param $levels i32) (param $slots_low i32) (param $slots_high i32) (result i32)
    (local $key i32) (local $length i32) (local $slot i32) (local $byte i32) (local $slots i64)
    (local.set $slots (i64.or (i64.extend_i32_u (local.get $slots_low))
      (i64.shl (i64.extend_i32_u (local.get $slots_high)) (i64.const 32))))
    (loop $member
      (local.set $key (local.get $at))
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x22))
        (then (return (i32.xor (local.get $at) (i32.const -1)))))
      (global.set $escaped (i32.const 0))
      (local.set $at (call $pass_string (i32.add (local.get $at) (i32.const 1))))
      (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
      ;; the length with its first quote; of an empty key both bytes are that quote
      (local.set $length (i32.sub (local.get $at) (local.get $key)))
      (local.set $slot (i32.add
        (i32.mul (local.get $length) (i32.const 5))
        (i32.add
          (i32.mul (i32.load8_u offset=1 (local.get $key)) (i32.const 3))
          (i32.load8_u (i32.sub (local.get $at) (i32.const 1))))))
      (if (i32.or (global.get $escaped)
            (i32.wrap_i64 (i64.and (i64.const 1)
              (i64.shr_u (local.get $slots) (i64.extend_i32_u (local.get $slot))))))
        (then (return (local.get $key))))
      (local.set $at (call $pass_colon (i32.add (local.get $at) (i32.const 1))))
      (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
      ;; most values are strings
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x22))
        (then
          (local.set $at (call $pass_string (i32.add (local.get $at) (i32.const 1))))
          (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 1))))
        (else
          (local.set $at (call $pass_value (local.get $at) (local.get $levels)))
          (if (i32.lt_s (local.get $at) (i32.const 0)) (then (return (local.get $at))))))
      (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
        (then (local.set $at (call $pass_blanks (local.get $at)))))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x2c))
        (then
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (if (i32.le_u (i32.load8_u (local.get $at)) (i32.const 0x20))
            (then (local.set $at (call $pass_blanks (local.get $at)))))
          (br $member)))
      (if (i32.eq (local.get $byte) (i32.const 0x7d)) (then (return (local.get $at)))))
    (i32.xor (local.get $at) (i32.const -1))))
