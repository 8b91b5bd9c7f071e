;; What JavaScript is slow at, over the memory in which a batch is parsed: finding separators many bytes at a time, reading
;; fields in the plainest notation, SipHash-2-4, for its 64-bit arithmetic (the twin for reading is schemas/siphash.ts; tests
;; hold both and ClickHouse together), sorting rows by 64-bit keys, and writing the columns of rows that lie scattered in memory.
;;
;; Accepted calls are records (see accept_call). A row of a table is an entry of 16 bytes: its number key (64 bits), and the
;; address of its call's record (a multiple of 8), plus one for a displayed number's row (32 bits), and its start (32
;; bits). Addresses below 8528 are the ones that call-records.ts and batch-memory.ts name.
(module
  (memory (export "memory") 2)
  (global $k0 (mut i64) (i64.const 0))
  (global $k1 (mut i64) (i64.const 0))

  ;; set_key(k0, k1): the key of the next hashes
  (func (export "set_key") (param $key_0 i64) (param $key_1 i64)
    (global.set $k0 (local.get $key_0))
    (global.set $k1 (local.get $key_1)))

  ;; e164_key(at, end): the number key (schemas/number-key.ts) of the text in [at, end), or -1 where it is not `+` and 1 to 15
  ;; digits. Sixteen places at once: `+` and what stands behind the text count 0, a digit d counts d + 1; pairs of places
  ;; are added up, then fours, then all. Up to 16 bytes from `at` on are read.
  (func $e164_key (export "e164_key") (param $at i32) (param $end i32) (result f64)
    (local $digits v128) (local $places v128) (local $length i32)
    (local.set $length (i32.sub (local.get $end) (local.get $at)))
    ;; one less than 1 to 15, unsigned
    (if (i32.gt_u (i32.sub (local.get $length) (i32.const 2)) (i32.const 14)) (then (return (f64.const -1))))
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 43)) (then (return (f64.const -1))))
    (local.set $digits (i8x16.sub (v128.load align=1 (local.get $at)) (i8x16.splat (i32.const 48))))
    (local.set $places (v128.and
      (i8x16.lt_u (v128.const i8x16 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15) (i8x16.splat (local.get $length)))
      (v128.const i8x16 0 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1)))
    (if (v128.any_true (v128.and (local.get $places) (i8x16.gt_u (local.get $digits) (i8x16.splat (i32.const 9)))))
      (then (return (f64.const -1))))
    (local.set $digits (v128.and (local.get $places) (i8x16.add (local.get $digits) (i8x16.splat (i32.const 1)))))
    (local.set $digits (i16x8.narrow_i32x4_s
      (i32x4.dot_i16x8_s (i16x8.extend_low_i8x16_s (local.get $digits)) (v128.const i16x8 11 1 11 1 11 1 11 1))
      (i32x4.dot_i16x8_s (i16x8.extend_high_i8x16_s (local.get $digits)) (v128.const i16x8 11 1 11 1 11 1 11 1))))
    (local.set $digits (i32x4.dot_i16x8_s (local.get $digits) (v128.const i16x8 121 1 121 1 121 1 121 1)))
    (f64.convert_i64_u
      (i64.add
        (i64.mul
          (i64.extend_i32_u (i32.add (i32.mul (i32x4.extract_lane 0 (local.get $digits)) (i32.const 14641))
            (i32x4.extract_lane 1 (local.get $digits))))
          (i64.const 214358881))
        (i64.extend_i32_u (i32.add (i32.mul (i32x4.extract_lane 2 (local.get $digits)) (i32.const 14641))
          (i32x4.extract_lane 3 (local.get $digits)))))))

  ;; read_number(column, bracketed, text, key): where the field of a column has a number key, or (bracketed) what stands in the angle
  ;; brackets at its end, as in `"Name" <+33199000001>`, writes its place to text and its key to the address key, and
  ;; gives 1; else 0
  (func $read_number (param $column i32) (param $bracketed i32) (param $text i32) (param $key i32) (result i32)
    (local $from i32) (local $end i32) (local $opening i32) (local $value f64)
    (local.set $from (i32.load (local.get $column)))
    (local.set $end (i32.load offset=4104 (local.get $column)))
    (if (i32.and (local.get $bracketed) (i32.lt_u (local.get $from) (local.get $end)))
      (then (if (i32.eq (i32.load8_u (i32.sub (local.get $end) (i32.const 1))) (i32.const 62))
        (then
          ;; the last opening one among the 16 bytes before
          (local.set $opening (i8x16.bitmask (i8x16.eq (i8x16.splat (i32.const 60))
            (v128.load align=1 (i32.sub (local.get $end) (i32.const 17))))))
          (if (i32.eqz (local.get $opening)) (then (return (i32.const 0))))
          (local.set $opening (i32.add (local.get $end) (i32.sub (i32.const 14) (i32.clz (local.get $opening)))))
          (if (i32.lt_u (local.get $opening) (local.get $from)) (then (return (i32.const 0))))
          (local.set $from (i32.add (local.get $opening) (i32.const 1)))
          (local.set $end (i32.sub (local.get $end) (i32.const 1)))))))
    (local.set $value (call $e164_key (local.get $from) (local.get $end)))
    (if (f64.lt (local.get $value) (f64.const 0)) (then (return (i32.const 0))))
    (f64.store (local.get $key) (local.get $value))
    (i32.store (local.get $text) (local.get $from))
    (i32.store offset=4 (local.get $text) (local.get $end))
    (i32.const 1))

  ;; read_ascii(from, end, text): where the text in [from, end) is ASCII, writes its place to text and gives 1; else 0. Up to 16
  ;; bytes behind the text are read.
  (func $read_ascii (export "read_ascii") (param $from i32) (param $end i32) (param $text i32) (result i32)
    (local $at i32) (local $mask i32)
    (local.set $at (local.get $from))
    (block $done
      (loop $next
        (br_if $done (i32.ge_s (local.get $at) (local.get $end)))
        (local.set $mask (i8x16.bitmask (v128.load align=1 (local.get $at))))
        (if (local.get $mask)
          (then (if (i32.lt_u (i32.add (local.get $at) (i32.ctz (local.get $mask))) (local.get $end))
            (then (return (i32.const 0))))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next)))
    (i32.store (local.get $text) (local.get $from))
    (i32.store offset=4 (local.get $text) (local.get $end))
    (i32.const 1))

  ;; date_time(from, end, forms): ms since 1970, as if UTC, of the text in [from, end), which is `YYYY-MM-DD`, a space (forms
  ;; has 1) or T (2), `hh:mm:ss`, and maybe `.mmm` (4), and maybe Z (8). NaN for all else: other notations, and times that
  ;; do not exist, are left to start-time.ts. Sixteen places at once: digits are put side by side in pairs, and each pair
  ;; becomes a number.
  (func $date_time (export "date_time") (param $from i32) (param $end i32) (param $forms i32) (result f64)
    (local $text v128) (local $digits v128) (local $tail i32) (local $length i32) (local $milliseconds i32)
    (local $year i32) (local $month i32) (local $day i32) (local $hour i32) (local $minute i32) (local $second i32)
    (local $leap i32) (local $days i32) (local $digit i32)
    (local.set $length (i32.sub (local.get $end) (local.get $from)))
    (if (i32.gt_u (i32.sub (local.get $length) (i32.const 19)) (i32.const 5)) (then (return (f64.const nan))))
    (local.set $text (v128.load align=1 (local.get $from)))
    (local.set $digit (i8x16.extract_lane_u 10 (local.get $text)))
    (if (i32.eqz (i32.and (local.get $forms)
          (i32.or (i32.eq (local.get $digit) (i32.const 32)) (i32.shl (i32.eq (local.get $digit) (i32.const 84)) (i32.const 1)))))
      (then (return (f64.const nan))))
    (local.set $digits (i8x16.sub (local.get $text) (i8x16.splat (i32.const 48))))
    ;; a dash counts -3 there, a colon 10
    (if (v128.any_true (v128.or
          (v128.and (i8x16.gt_u (local.get $digits) (i8x16.splat (i32.const 9)))
            (v128.const i8x16 -1 -1 -1 -1 0 -1 -1 0 -1 -1 0 -1 -1 0 -1 -1))
          (v128.and (i8x16.ne (local.get $digits) (v128.const i8x16 0 0 0 0 -3 0 0 -3 0 0 0 0 0 10 0 0))
            (v128.const i8x16 0 0 0 0 -1 0 0 -1 0 0 0 0 0 -1 0 0))))
      (then (return (f64.const nan))))
    (local.set $digits (i8x16.swizzle (local.get $digits)
      (v128.const i8x16 0 1 2 3 5 6 8 9 11 12 14 15 -1 -1 -1 -1)))
    (local.set $text (i32x4.dot_i16x8_s
      (i16x8.extend_low_i8x16_s (local.get $digits)) (v128.const i16x8 1000 100 10 1 10 1 10 1)))
    (local.set $year (i32.add (i32x4.extract_lane 0 (local.get $text)) (i32x4.extract_lane 1 (local.get $text))))
    (local.set $month (i32x4.extract_lane 2 (local.get $text)))
    (local.set $day (i32x4.extract_lane 3 (local.get $text)))
    (local.set $text (i32x4.dot_i16x8_s
      (i16x8.extend_high_i8x16_s (local.get $digits)) (v128.const i16x8 10 1 10 1 10 1 10 1)))
    (local.set $hour (i32x4.extract_lane 0 (local.get $text)))
    (local.set $minute (i32x4.extract_lane 1 (local.get $text)))
    ;; `:ss`
    (if (i32.ne (i32.load8_u offset=16 (local.get $from)) (i32.const 58)) (then (return (f64.const nan))))
    (local.set $digit (i32.sub (i32.load8_u offset=17 (local.get $from)) (i32.const 48)))
    (if (i32.gt_u (local.get $digit) (i32.const 5)) (then (return (f64.const nan))))
    (local.set $second (i32.mul (local.get $digit) (i32.const 10)))
    (local.set $digit (i32.sub (i32.load8_u offset=18 (local.get $from)) (i32.const 48)))
    (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (f64.const nan))))
    (local.set $second (i32.add (local.get $second) (local.get $digit)))
    ;; `.mmm`
    (local.set $tail (i32.add (local.get $from) (i32.const 19)))
    (if (i32.ge_u (local.get $length) (i32.const 23))
      (then
        (if (i32.eqz (i32.and (local.get $forms) (i32.const 4))) (then (return (f64.const nan))))
        (if (i32.ne (i32.load8_u (local.get $tail)) (i32.const 46)) (then (return (f64.const nan))))
        (local.set $tail (i32.add (local.get $tail) (i32.const 4)))
        (local.set $length (i32.const -3))
        (loop $digit_of_fraction
          (local.set $digit (i32.sub (i32.load8_u (i32.add (local.get $tail) (local.get $length))) (i32.const 48)))
          (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (f64.const nan))))
          (local.set $milliseconds (i32.add (i32.mul (local.get $milliseconds) (i32.const 10)) (local.get $digit)))
          (local.set $length (i32.add (local.get $length) (i32.const 1)))
          (br_if $digit_of_fraction (local.get $length)))))
    ;; `Z`
    (if (i32.lt_u (local.get $tail) (local.get $end))
      (then
        (if (i32.eqz (i32.and (local.get $forms) (i32.const 8))) (then (return (f64.const nan))))
        (if (i32.ne (i32.load8_u (local.get $tail)) (i32.const 90)) (then (return (f64.const nan))))
        (if (i32.ne (i32.add (local.get $tail) (i32.const 1)) (local.get $end)) (then (return (f64.const nan))))))
    (if (i32.or (i32.or (i32.gt_u (local.get $hour) (i32.const 23)) (i32.gt_u (local.get $minute) (i32.const 59)))
          (i32.or (i32.lt_u (local.get $year) (i32.const 1900)) (i32.gt_u (i32.sub (local.get $month) (i32.const 1)) (i32.const 11))))
      (then (return (f64.const nan))))
    ;; leap: by 4, and not by 100, or by 400
    (local.set $leap (i32.and
      (i32.eqz (i32.and (local.get $year) (i32.const 3)))
      (i32.or (i32.ne (i32.rem_u (local.get $year) (i32.const 100)) (i32.const 0))
        (i32.eqz (i32.rem_u (local.get $year) (i32.const 400))))))
    ;; months have 31 days where they are odd up to July and even from August on
    (if (i32.gt_u (i32.sub (local.get $day) (i32.const 1))
          (i32.sub
            (select
              (i32.add (i32.const 28) (local.get $leap))
              (i32.or (i32.const 30) (i32.xor (local.get $month) (i32.shr_u (local.get $month) (i32.const 3))))
              (i32.eq (local.get $month) (i32.const 2)))
            (i32.const 1)))
      (then (return (f64.const nan))))
    ;; days since 1970, in years that begin in March, so that the leap day is the last one
    (if (i32.le_u (local.get $month) (i32.const 2))
      (then
        (local.set $year (i32.sub (local.get $year) (i32.const 1)))
        (local.set $month (i32.add (local.get $month) (i32.const 12)))))
    (local.set $days (i32.add
      (i32.add
        (i32.mul (local.get $year) (i32.const 365))
        (i32.sub (i32.shr_u (local.get $year) (i32.const 2)) (i32.div_u (local.get $year) (i32.const 100))))
      (i32.add
        (i32.add (i32.div_u (local.get $year) (i32.const 400)) (i32.sub (local.get $day) (i32.const 719469)))
        (i32.div_u (i32.sub (i32.mul (local.get $month) (i32.const 153)) (i32.const 457)) (i32.const 5)))))
    (f64.add
      (f64.mul (f64.convert_i32_s (local.get $days)) (f64.const 86400000))
      (f64.convert_i32_s (i32.add (local.get $milliseconds) (i32.mul (i32.const 1000)
        (i32.add (local.get $second) (i32.mul (i32.const 60) (i32.add (local.get $minute) (i32.mul (i32.const 60) (local.get $hour))))))))))

  ;; read_seconds(from, end): ms of the text in [from, end), which is one to six digits, and maybe a point and one digit or more, of
  ;; which those beyond the millisecond are cut; -1 for all else, which is left to seconds.ts
  (func $read_seconds (param $at i32) (param $end i32) (result i32)
    (local $value i32) (local $digit i32) (local $unit i32) (local $from i32)
    (local.set $from (local.get $at))
    (block $done
      (loop $digits
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
        (br_if $done (i32.gt_u (local.get $digit) (i32.const 9)))
        (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10)) (local.get $digit)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $digits)))
    ;; one less than 1 to 6, unsigned
    (if (i32.gt_u (i32.sub (i32.sub (local.get $at) (local.get $from)) (i32.const 1)) (i32.const 5))
      (then (return (i32.const -1))))
    (local.set $value (i32.mul (local.get $value) (i32.const 1000)))
    (if (i32.eq (local.get $at) (local.get $end)) (then (return (local.get $value))))
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 46)) (then (return (i32.const -1))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (if (i32.eq (local.get $at) (local.get $end)) (then (return (i32.const -1))))
    (local.set $unit (i32.const 100))
    (loop $fraction
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (i32.const -1))))
      (local.set $value (i32.add (local.get $value) (i32.mul (local.get $digit) (local.get $unit))))
      (local.set $unit (i32.div_u (local.get $unit) (i32.const 10)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $fraction (i32.lt_u (local.get $at) (local.get $end))))
    (local.get $value))

  ;; find_text(first, from, end): the value of the text in [from, end) in a list of texts, or 0. A text of a list: address of the
  ;; next one or 0, length, value, bytes. Up to 15 bytes behind both texts are read.
  (func $find_text (export "find_text") (param $text i32) (param $from i32) (param $end i32) (result i32)
    (local $length i32) (local $at i32) (local $different i32)
    (local.set $length (i32.sub (local.get $end) (local.get $from)))
    (loop $texts
      (if (i32.eqz (local.get $text)) (then (return (i32.const 0))))
      (block $differs
        (br_if $differs (i32.ne (i32.load offset=4 (local.get $text)) (local.get $length)))
        (local.set $at (i32.const 0))
        (loop $bytes
          (local.set $different (i8x16.bitmask (i8x16.ne
            (v128.load align=1 (i32.add (local.get $from) (local.get $at)))
            (v128.load offset=12 align=1 (i32.add (local.get $text) (local.get $at))))))
          (if (local.get $different)
            (then (br_if $differs (i32.lt_u
              (i32.add (local.get $at) (i32.ctz (local.get $different))) (local.get $length)))))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $bytes (i32.lt_u (local.get $at) (local.get $length))))
        (return (i32.load offset=8 (local.get $text))))
      (local.set $text (i32.load (local.get $text)))
      (br $texts))
    (unreachable))

  ;; find_word(words, from, end): the same among words, of which there is a list for each length from 0 to 31
  (func $find_word (param $words i32) (param $from i32) (param $end i32) (result i32)
    (local $length i32)
    (local.set $length (i32.sub (local.get $end) (local.get $from)))
    (if (i32.gt_u (local.get $length) (i32.const 31)) (then (return (i32.const 0))))
    (call $find_text
      (i32.load (i32.add (local.get $words) (i32.shl (local.get $length) (i32.const 2))))
      (local.get $from) (local.get $end)))

  ;; read_fields(plan): reads the fields of the call that stand in the plainest notation, as most do, from the columns of the line
  ;; that was split, and gives a bit (READ_FIELD of plain-fields.ts) for each that it has read. The others are left to
  ;; line-reader.ts. The plan: words, one behind the other, of which those that name a column are the address of its start; 4104 bytes
  ;; behind it is its end. What is read goes to the places of the call: CALL and TEXT of call-records.ts.
  (func (export "read_fields") (param $plan i32) (result i32)
    (local $column i32) (local $from i32) (local $end i32) (local $read i32) (local $value i32) (local $ms f64)
    ;; start: column, forms of date_time
    (local.set $column (i32.load (local.get $plan)))
    (local.set $ms (call $date_time (i32.load (local.get $column)) (i32.load offset=4104 (local.get $column))
      (i32.load offset=4 (local.get $plan))))
    (if (f64.eq (local.get $ms) (local.get $ms))
      (then
        (f64.store (i32.const 64) (local.get $ms))
        (local.set $read (i32.const 1))))
    ;; duration: column
    (local.set $column (i32.load offset=8 (local.get $plan)))
    (local.set $value (call $read_seconds (i32.load (local.get $column)) (i32.load offset=4104 (local.get $column))))
    (if (i32.ge_s (local.get $value) (i32.const 0))
      (then
        (i32.store (i32.const 88) (local.get $value))
        (local.set $read (i32.or (local.get $read) (i32.const 2)))))
    ;; talk: column
    (local.set $column (i32.load offset=12 (local.get $plan)))
    (local.set $value (call $read_seconds (i32.load (local.get $column)) (i32.load offset=4104 (local.get $column))))
    (if (i32.ge_s (local.get $value) (i32.const 0))
      (then
        (i32.store (i32.const 92) (local.get $value))
        (i32.store8 (i32.const 108) (i32.const 0))
        (local.set $read (i32.or (local.get $read) (i32.const 4)))))
    ;; outcome: column, words, whose values are one more than what they say
    (local.set $column (i32.load offset=16 (local.get $plan)))
    (local.set $value (call $find_word (i32.load offset=20 (local.get $plan))
      (i32.load (local.get $column)) (i32.load offset=4104 (local.get $column))))
    (if (local.get $value)
      (then
        (i32.store8 (i32.const 106) (i32.sub (local.get $value) (i32.const 1)))
        (local.set $read (i32.or (local.get $read) (i32.const 8)))))
    ;; calling, dialed and displayed number: column, and whether its number may stand in angle brackets
    (local.set $read (i32.or (local.get $read) (i32.shl
      (call $read_number (i32.load offset=24 (local.get $plan)) (i32.load offset=28 (local.get $plan))
        (i32.const 136) (i32.const 112))
      (i32.const 4))))
    (local.set $read (i32.or (local.get $read) (i32.shl
      (call $read_number (i32.load offset=32 (local.get $plan)) (i32.load offset=36 (local.get $plan))
        (i32.const 152) (i32.const 120))
      (i32.const 5))))
    (local.set $read (i32.or (local.get $read) (i32.shl
      (call $read_number (i32.load offset=40 (local.get $plan)) (i32.load offset=44 (local.get $plan))
        (i32.const 144) (i32.const 128))
      (i32.const 6))))
    ;; account and id of the call: column each
    (local.set $column (i32.load offset=48 (local.get $plan)))
    (local.set $read (i32.or (local.get $read) (i32.shl (call $read_ascii
      (i32.load (local.get $column)) (i32.load offset=4104 (local.get $column)) (i32.const 160)) (i32.const 7))))
    (local.set $column (i32.load offset=52 (local.get $plan)))
    (i32.or (local.get $read) (i32.shl (call $read_ascii
      (i32.load (local.get $column)) (i32.load offset=4104 (local.get $column)) (i32.const 168)) (i32.const 8))))

  ;; append_fields(columns, to): copies the fields of some columns one behind the other, each behind its length (16 bits), and gives
  ;; the address behind the last one; where one of them is empty, gives to. The columns: their number, and of each the
  ;; address of its start.
  (func (export "append_fields") (param $columns i32) (param $to i32) (result i32)
    (local $last i32) (local $column i32) (local $from i32) (local $length i32) (local $out i32)
    (local.set $last (i32.add (local.get $columns) (i32.shl (i32.load (local.get $columns)) (i32.const 2))))
    (local.set $out (local.get $to))
    (block $done
      (loop $fields
        (br_if $done (i32.eq (local.get $columns) (local.get $last)))
        (local.set $columns (i32.add (local.get $columns) (i32.const 4)))
        (local.set $column (i32.load (local.get $columns)))
        (local.set $from (i32.load (local.get $column)))
        (local.set $length (i32.sub (i32.load offset=4104 (local.get $column)) (local.get $from)))
        (if (i32.le_s (local.get $length) (i32.const 0)) (then (return (local.get $to))))
        (i32.store16 (local.get $out) (local.get $length))
        (local.set $out (i32.add (local.get $out) (i32.const 2)))
        (if (i32.le_u (local.get $length) (i32.const 32))
          (then
            (v128.store align=1 (local.get $out) (v128.load align=1 (local.get $from)))
            (v128.store offset=16 align=1 (local.get $out) (v128.load offset=16 align=1 (local.get $from))))
          (else (memory.copy (local.get $out) (local.get $from) (local.get $length))))
        (local.set $out (i32.add (local.get $out) (local.get $length)))
        (br $fields)))
    (local.get $out))

  ;; hash(at, length): writes the 8 bytes of the hash, little endian, at address 0
  (func (export "hash") (param $at i32) (param $length i32)
    (local $v0 i64) (local $v1 i64) (local $v2 i64) (local $v3 i64)
    (local $word i64) (local $end i32) (local $shift i64) (local $rounds i32) (local $last i32)
    (local.set $v0 (i64.xor (global.get $k0) (i64.const 0x736f6d6570736575)))
    (local.set $v1 (i64.xor (global.get $k1) (i64.const 0x646f72616e646f6d)))
    (local.set $v2 (i64.xor (global.get $k0) (i64.const 0x6c7967656e657261)))
    (local.set $v3 (i64.xor (global.get $k1) (i64.const 0x7465646279746573)))
    (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -8))))
    (loop $words
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (local.set $word (i64.load align=1 (local.get $at)))
          (local.set $at (i32.add (local.get $at) (i32.const 8))))
        (else
          ;; the last word: what is left of the bytes, and the length in its highest byte
          (local.set $last (i32.const 1))
          (local.set $word (i64.shl (i64.extend_i32_u (i32.and (local.get $length) (i32.const 255))) (i64.const 56)))
          (local.set $end (i32.add (local.get $end) (i32.and (local.get $length) (i32.const 7))))
          (local.set $shift (i64.const 0))
          (block $tail_done
            (loop $tail
              (br_if $tail_done (i32.ge_u (local.get $at) (local.get $end)))
              (local.set $word (i64.or (local.get $word)
                (i64.shl (i64.load8_u (local.get $at)) (local.get $shift))))
              (local.set $shift (i64.add (local.get $shift) (i64.const 8)))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br $tail)))))
      (local.set $v3 (i64.xor (local.get $v3) (local.get $word)))
      (local.set $rounds (i32.const 2))
      (block $compressed
        (loop $round
          (local.set $v0 (i64.add (local.get $v0) (local.get $v1)))
          (local.set $v1 (i64.xor (i64.rotl (local.get $v1) (i64.const 13)) (local.get $v0)))
          (local.set $v0 (i64.rotl (local.get $v0) (i64.const 32)))
          (local.set $v2 (i64.add (local.get $v2) (local.get $v3)))
          (local.set $v3 (i64.xor (i64.rotl (local.get $v3) (i64.const 16)) (local.get $v2)))
          (local.set $v0 (i64.add (local.get $v0) (local.get $v3)))
          (local.set $v3 (i64.xor (i64.rotl (local.get $v3) (i64.const 21)) (local.get $v0)))
          (local.set $v2 (i64.add (local.get $v2) (local.get $v1)))
          (local.set $v1 (i64.xor (i64.rotl (local.get $v1) (i64.const 17)) (local.get $v2)))
          (local.set $v2 (i64.rotl (local.get $v2) (i64.const 32)))
          (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
          (br_if $round (local.get $rounds))
          ;; after the two rounds of the last word: finalisation, four rounds more
          (br_if $compressed (i32.ne (local.get $last) (i32.const 1)))
          (local.set $last (i32.const 2))
          (local.set $v0 (i64.xor (local.get $v0) (local.get $word)))
          (local.set $v2 (i64.xor (local.get $v2) (i64.const 255)))
          (local.set $rounds (i32.const 4))
          (br $round)))
      (if (i32.eqz (local.get $last))
        (then
          (local.set $v0 (i64.xor (local.get $v0) (local.get $word)))
          (br $words))))
    (i64.store (i32.const 0)
      (i64.xor (i64.xor (local.get $v0) (local.get $v1)) (i64.xor (local.get $v2) (local.get $v3)))))

  ;; past_blanks(at, end, separator): the first address from at on that is no space and no tab, or separates
  (func $past_blanks (param $at i32) (param $end i32) (param $separator i32) (result i32)
    (local $byte i32)
    (block $done
      (loop $blank
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $at)))
        (br_if $done (i32.eq (local.get $byte) (local.get $separator)))
        (br_if $done (i32.and
          (i32.ne (local.get $byte) (i32.const 32)) (i32.ne (local.get $byte) (i32.const 9))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $blank)))
    (local.get $at))

  ;; line_end(from, at): where the bytes end of the line from `from` on whose line feed stands at `at`: a carriage return before
  ;; that belongs to the line's end
  (func $line_end (param $from i32) (param $at i32) (result i32)
    (if (i32.le_u (local.get $at) (local.get $from)) (then (return (local.get $at))))
    (i32.sub (local.get $at)
      (i32.eq (i32.load8_u (i32.sub (local.get $at) (i32.const 1))) (i32.const 13))))

  ;; ends_line(at, end): 1 where nothing stands at at, or a line feed, also behind a carriage return
  (func $ends_line (param $at i32) (param $end i32) (result i32)
    (local $byte i32)
    (if (i32.ge_u (local.get $at) (local.get $end)) (then (return (i32.const 1))))
    (local.set $byte (i32.load8_u (local.get $at)))
    (if (i32.eq (local.get $byte) (i32.const 10)) (then (return (i32.const 1))))
    (if (i32.ne (local.get $byte) (i32.const 13)) (then (return (i32.const 0))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (if (i32.ge_u (local.get $at) (local.get $end)) (then (return (i32.const 1))))
    (i32.eq (i32.load8_u (local.get $at)) (i32.const 10)))

  ;; ends_field(at, end, separator): the same, or 1 where the separator stands at at
  (func $ends_field (param $at i32) (param $end i32) (param $separator i32) (result i32)
    (if (call $ends_line (local.get $at) (local.get $end)) (then (return (i32.const 1))))
    (i32.eq (i32.load8_u (local.get $at)) (local.get $separator)))

  ;; unescape(from, end, out, escape): copies a field, each byte escape left out, but not the byte behind it; gives the address behind
  ;; the copy. Of doubled quotes the first one is an escape. Up to 16 bytes behind the copy are overwritten.
  (func $unescape (param $from i32) (param $end i32) (param $out i32) (param $escape i32) (result i32)
    (local $escapes v128) (local $bytes v128) (local $length i32)
    (local.set $escapes (i8x16.splat (local.get $escape)))
    (loop $copy
      (local.set $bytes (v128.load align=1 (local.get $from)))
      (v128.store align=1 (local.get $out) (local.get $bytes))
      ;; bytes before the next escape; 16 where there is none
      (local.set $length (i32.ctz (i32.or (i32.const 0x10000)
        (i8x16.bitmask (i8x16.eq (local.get $bytes) (local.get $escapes))))))
      (local.set $from (i32.add (local.get $from) (local.get $length)))
      (local.set $out (i32.add (local.get $out) (local.get $length)))
      (if (i32.lt_u (local.get $from) (local.get $end))
        (then
          (if (i32.lt_u (local.get $length) (i32.const 16))
            (then
              ;; the last byte escapes nothing
              (local.set $from (i32.add (local.get $from)
                (i32.lt_u (i32.add (local.get $from) (i32.const 1)) (local.get $end))))
              (i32.store8 (local.get $out) (i32.load8_u (local.get $from)))
              (local.set $from (i32.add (local.get $from) (i32.const 1)))
              (local.set $out (i32.add (local.get $out) (i32.const 1)))))
          (br $copy))))
    ;; bytes behind the end were copied too
    (i32.sub (local.get $out) (i32.sub (local.get $from) (local.get $end))))

  ;; places_of(byte, at): of each of the 64 bytes from at on a bit, the first one's lowest: 1 where it is this byte
  (func $places_of (param $byte i32) (param $at i32) (result i64)
    (local $bytes v128)
    (local.set $bytes (i8x16.splat (local.get $byte)))
    (i64.or
      (i64.extend_i32_u (i32.or
        (i8x16.bitmask (i8x16.eq (local.get $bytes) (v128.load align=1 (local.get $at))))
        (i32.shl (i8x16.bitmask (i8x16.eq (local.get $bytes) (v128.load offset=16 align=1 (local.get $at))))
          (i32.const 16))))
      (i64.shl
        (i64.extend_i32_u (i32.or
          (i8x16.bitmask (i8x16.eq (local.get $bytes) (v128.load offset=32 align=1 (local.get $at))))
          (i32.shl (i8x16.bitmask (i8x16.eq (local.get $bytes) (v128.load offset=48 align=1 (local.get $at))))
            (i32.const 16))))
        (i64.const 32))))

  ;; split(from, end, separator, top, lenient): splits the line that begins at from into fields; the text ends at end, which may be in
  ;; mid-line. Field i is [starts[i], ends[i]), 32-bit addresses from 320 and from 4424 on; fields beyond 1024 are counted only.
  ;; At 264: the number of fields, the end of the line's bytes, where the next line begins, the address of a quote that
  ;; breaks the rules, or -1. Fields with doubled quotes are copied to top; gives the address behind them. Up to 64 bytes
  ;; behind the text are read. The rules are in line-splitter.ts.
  ;;
  ;; Here are split the lines in which a quote opens directly behind a separator and closes directly before one, as nearly all
  ;; do: 64 bytes at once, as masks with a bit for each of them, so that of the quotes none is looked at by itself. A line
  ;; that turns out to be another one is left to split_irregular, from its begin on.
  (func (export "split")
    (param $from i32) (param $end i32) (param $separator i32) (param $top i32) (param $lenient i32) (result i32)
    (local $base i32) (local $at i32) (local $line_end i32) (local $field i32) (local $field_end i32) (local $quoted i32)
    (local $out i32) (local $slot i32) (local $count i32) (local $mask i64) (local $end_bit i64) (local $separators i64)
    (local $quotes i64) (local $bounds i64) (local $inside i64) (local $outside i64) (local $behind_separator i64)
    (local $behind_bound i64) (local $doubled i64) (local $separator_before i64) (local $bound_before i64)
    (local $inside_before i64)
    (local.set $base (local.get $from))
    (block $found
      (loop $seek
        (local.set $mask (call $places_of (i32.const 10) (local.get $base)))
        (br_if $found (i64.ne (local.get $mask) (i64.const 0)))
        (local.set $base (i32.add (local.get $base) (i32.const 64)))
        (br_if $seek (i32.lt_u (local.get $base) (local.get $end)))))
    (local.set $at (i32.add (local.get $base) (i32.wrap_i64 (i64.ctz (local.get $mask)))))
    (if (i32.gt_u (local.get $at) (local.get $end)) (then (local.set $at (local.get $end))))
    (local.set $line_end (call $line_end (local.get $from) (local.get $at)))
    (i32.store (i32.const 268) (local.get $line_end))
    (i32.store (i32.const 272) (i32.add (local.get $at) (i32.const 1)))
    (i32.store (i32.const 276) (i32.const -1))
    (local.set $out (local.get $top))
    (local.set $base (local.get $from))
    (local.set $field (local.get $from))
    (local.set $slot (i32.const 320))
    (local.set $separator_before (i64.const 1))
    (block $irregular
      (loop $masks
        (local.set $separators (call $places_of (local.get $separator) (local.get $base)))
        (local.set $quotes (call $places_of (i32.const 34) (local.get $base)))
        ;; the line's end separates like a separator
        (local.set $at (i32.sub (local.get $line_end) (local.get $base)))
        (if (i32.lt_u (local.get $at) (i32.const 64))
          (then
            (local.set $end_bit (i64.shl (i64.const 1) (i64.extend_i32_u (local.get $at))))
            (local.set $mask (i64.sub (local.get $end_bit) (i64.const 1)))
            (local.set $quotes (i64.and (local.get $quotes) (local.get $mask)))
            (local.set $separators (i64.or (i64.and (local.get $separators) (local.get $mask)) (local.get $end_bit)))))
        (local.set $behind_separator
          (i64.or (i64.shl (local.get $separators) (i64.const 1)) (local.get $separator_before)))
        (local.set $separator_before (i64.shr_u (local.get $separators) (i64.const 63)))
        ;; quotes that open and close; where they are not escaped, only those beside a separator do
        (local.set $bounds (local.get $quotes))
        (if (local.get $lenient)
          (then (local.set $bounds (i64.and (local.get $quotes) (i64.or
            (local.get $behind_separator)
            (i64.or
              (i64.shr_u (local.get $separators) (i64.const 1))
              (i64.shl
                (i64.extend_i32_u (call $ends_field
                  (i32.add (local.get $base) (i32.const 64)) (local.get $end) (local.get $separator)))
                (i64.const 63))))))))
        (local.set $behind_bound (i64.or (i64.shl (local.get $bounds) (i64.const 1)) (local.get $bound_before)))
        (local.set $bound_before (i64.shr_u (local.get $bounds) (i64.const 63)))
        ;; in quotes from this byte on: the number of bounds up to it is odd
        (local.set $inside (i64.xor (local.get $bounds) (i64.shl (local.get $bounds) (i64.const 1))))
        (local.set $inside (i64.xor (local.get $inside) (i64.shl (local.get $inside) (i64.const 2))))
        (local.set $inside (i64.xor (local.get $inside) (i64.shl (local.get $inside) (i64.const 4))))
        (local.set $inside (i64.xor (local.get $inside) (i64.shl (local.get $inside) (i64.const 8))))
        (local.set $inside (i64.xor (local.get $inside) (i64.shl (local.get $inside) (i64.const 16))))
        (local.set $inside (i64.xor (local.get $inside) (i64.shl (local.get $inside) (i64.const 32))))
        (local.set $inside (i64.xor (local.get $inside) (local.get $inside_before)))
        (local.set $inside_before (i64.shr_s (local.get $inside) (i64.const 63)))
        ;; outside up to this byte
        (local.set $outside (i64.xor (i64.xor (local.get $inside) (local.get $bounds)) (i64.const -1)))
        ;; a bound behind one that closed: a doubled quote
        (local.set $doubled (i64.or (local.get $doubled)
          (i64.and (local.get $outside) (i64.and (local.get $bounds) (local.get $behind_bound)))))
        (br_if $irregular (i64.ne (i64.const 0) (i64.or
          (i64.or
            ;; not closed
            (i64.and (local.get $end_bit) (local.get $inside))
            ;; a character of an unquoted field
            (i64.and (i64.xor (local.get $quotes) (local.get $bounds)) (local.get $outside)))
          (i64.and (local.get $outside) (i64.or
            ;; opens behind something else
            (i64.and (local.get $bounds)
              (i64.xor (i64.const -1) (i64.or (local.get $behind_separator) (local.get $behind_bound))))
            ;; something else behind one that closed
            (i64.and (local.get $behind_bound)
              (i64.xor (i64.const -1) (i64.or (local.get $separators)
                (select (i64.const 0) (local.get $bounds) (local.get $lenient))))))))))
        (local.set $separators (i64.and (local.get $separators) (local.get $outside)))
        (local.set $count (i32.add (local.get $count) (i32.wrap_i64 (i64.popcnt (local.get $separators)))))
        (br_if $irregular (i32.gt_u (local.get $count) (i32.const 1024)))
        (block $written
          (loop $fields
            (br_if $written (i64.eqz (local.get $separators)))
            (local.set $at (i32.add (local.get $base) (i32.wrap_i64 (i64.ctz (local.get $separators)))))
            (local.set $quoted (i32.and
              (i32.lt_u (local.get $field) (local.get $at))
              (i32.eq (i32.load8_u (local.get $field)) (i32.const 34))))
            (local.set $field (i32.add (local.get $field) (local.get $quoted)))
            (local.set $field_end (i32.sub (local.get $at) (local.get $quoted)))
            ;; bits up to that of the separator
            (local.set $mask (i64.xor (local.get $separators) (i64.sub (local.get $separators) (i64.const 1))))
            (if (i64.ne (i64.const 0) (i64.and (local.get $doubled) (local.get $mask)))
              (then
                (local.set $doubled (i64.and (local.get $doubled) (i64.xor (local.get $mask) (i64.const -1))))
                (i32.store (local.get $slot) (local.get $out))
                (local.set $out (call $unescape
                  (local.get $field) (local.get $field_end) (local.get $out) (i32.const 34)))
                (i32.store offset=4104 (local.get $slot) (local.get $out)))
              (else
                (i32.store (local.get $slot) (local.get $field))
                (i32.store offset=4104 (local.get $slot) (local.get $field_end))))
            (local.set $slot (i32.add (local.get $slot) (i32.const 4)))
            (local.set $field (i32.add (local.get $at) (i32.const 1)))
            (local.set $separators (i64.and (local.get $separators) (i64.sub (local.get $separators) (i64.const 1))))
            (br $fields)))
        ;; of a field that goes on
        (local.set $doubled (i64.extend_i32_u (i64.ne (local.get $doubled) (i64.const 0))))
        (local.set $base (i32.add (local.get $base) (i32.const 64)))
        (br_if $masks (i64.eqz (local.get $end_bit))))
      (i32.store (i32.const 264) (local.get $count))
      (return (local.get $out)))
    (call $split_irregular
      (local.get $from) (local.get $end) (local.get $separator) (local.get $top) (local.get $lenient)))

  ;; split_irregular(from, end, separator, top, lenient): the same for lines with quotes wherever they may stand. Only separators,
  ;; quotes and line feeds are looked at, each once: 16 bytes give a mask of them.
  (func $split_irregular
    (param $from i32) (param $end i32) (param $separator i32) (param $top i32) (param $lenient i32) (result i32)
    (local $separators v128) (local $bytes v128) (local $base i32) (local $mask i32) (local $at i32) (local $byte i32)
    (local $field i32) (local $field_end i32) (local $open i32) (local $close i32) (local $doubled i32) (local $slot i32)
    (local $count i32) (local $fault i32)
    (local.set $separators (i8x16.splat (local.get $separator)))
    (local.set $base (i32.sub (local.get $from) (i32.const 16)))
    (local.set $field (local.get $from))
    (local.set $slot (i32.const 320))
    (local.set $fault (i32.const -1))
    (block $stop
      (loop $next
        ;; the next special byte; at the text's end a line feed is read
        (block $found
          (loop $chunk
            (br_if $found (local.get $mask))
            (local.set $base (i32.add (local.get $base) (i32.const 16)))
            (if (i32.ge_u (local.get $base) (local.get $end))
              (then (local.set $mask (i32.const 1)) (br $found)))
            (local.set $bytes (v128.load align=1 (local.get $base)))
            (local.set $mask (i8x16.bitmask (v128.or
              (i8x16.eq (local.get $bytes) (local.get $separators))
              (v128.or
                (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 34)))
                (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 10)))))))
            (br $chunk)))
        (local.set $at (i32.add (local.get $base) (i32.ctz (local.get $mask))))
        (local.set $mask (i32.and (local.get $mask) (i32.sub (local.get $mask) (i32.const 1))))
        (if (i32.ge_u (local.get $at) (local.get $end))
          (then (local.set $at (local.get $end)) (local.set $byte (i32.const 10)))
          (else (local.set $byte (i32.load8_u (local.get $at)))))
        (if (i32.eq (local.get $byte) (i32.const 34))
          (then
            (if (i32.eqz (local.get $open))
              (then
                ;; it opens a field where only blanks stand before it; elsewhere it is a character
                (if (i32.ne (local.get $at) (local.get $field))
                  (then (br_if $next (i32.ne (local.get $at)
                    (call $past_blanks (local.get $field) (local.get $at) (local.get $separator))))))
                (local.set $open (i32.add (local.get $at) (i32.const 1)))
                (local.set $close (i32.const 0))
                (local.set $doubled (i32.const 0))
                (br $next)))
            (if (i32.eqz (local.get $close))
              (then
                (if (local.get $lenient)
                  (then (br_if $next (i32.eqz (call $ends_field
                    (i32.add (local.get $at) (i32.const 1)) (local.get $end) (local.get $separator))))))
                (local.set $close (local.get $at))
                (br $next)))
            ;; behind a quote that seemed to close: they are a pair
            (if (i32.eq (local.get $at) (i32.add (local.get $close) (i32.const 1)))
              (then
                (local.set $doubled (i32.const 1))
                (local.set $close (i32.const 0))
                (br $next)))
            (local.set $fault (call $past_blanks
              (i32.add (local.get $close) (i32.const 1)) (local.get $at) (local.get $separator)))
            (br $stop)))
        (local.set $field_end (local.get $at))
        (if (i32.eq (local.get $byte) (i32.const 10))
          (then (local.set $field_end (call $line_end (local.get $from) (local.get $at)))))
        (if (local.get $open)
          (then
            (if (i32.eqz (local.get $close))
              (then
                ;; in quotes
                (br_if $next (i32.ne (local.get $byte) (i32.const 10)))
                (local.set $fault (i32.sub (local.get $open) (i32.const 1)))
                (br $stop)))
            ;; only blanks may stand behind the closing quote
            (local.set $field (i32.add (local.get $close) (i32.const 1)))
            (if (i32.ne (local.get $field) (local.get $field_end))
              (then
                (local.set $field (call $past_blanks (local.get $field) (local.get $field_end) (local.get $separator)))
                (if (i32.ne (local.get $field) (local.get $field_end))
                  (then (local.set $fault (local.get $field)) (br $stop)))))
            (local.set $field (local.get $open))
            (local.set $field_end (local.get $close))
            (if (local.get $doubled)
              (then (if (i32.lt_u (local.get $count) (i32.const 1024))
                (then
                  (local.set $field (local.get $top))
                  (local.set $top (call $unescape (local.get $open) (local.get $close) (local.get $top) (i32.const 34)))
                  (local.set $field_end (local.get $top))))))
            (local.set $open (i32.const 0))))
        (if (i32.lt_u (local.get $count) (i32.const 1024))
          (then
            (i32.store (local.get $slot) (local.get $field))
            (i32.store offset=4104 (local.get $slot) (local.get $field_end))))
        (local.set $slot (i32.add (local.get $slot) (i32.const 4)))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (local.set $field (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.ne (local.get $byte) (i32.const 10)))))
    ;; behind a fault the line goes on
    (block $ended
      (loop $rest
        (br_if $ended (i32.ge_u (local.get $at) (local.get $end)))
        (br_if $ended (i32.eq (i32.load8_u (local.get $at)) (i32.const 10)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $rest)))
    (i32.store (i32.const 264) (local.get $count))
    (i32.store (i32.const 268) (call $line_end (local.get $from) (local.get $at)))
    (i32.store (i32.const 272) (i32.add (local.get $at) (i32.const 1)))
    (i32.store (i32.const 276) (local.get $fault))
    (local.get $top))

  ;; split_unquoted(from, end, separator, top, escape): the same for a line in which quotes are bytes like others, and the byte
  ;; escape makes the next one, where the line does not end, part of its field; a line feed: there is no such byte. Fields
  ;; with escapes are copied to top; gives the address behind them.
  (func (export "split_unquoted")
    (param $from i32) (param $end i32) (param $separator i32) (param $top i32) (param $escape i32) (result i32)
    (local $separators v128) (local $escapes v128) (local $bytes v128) (local $base i32) (local $mask i32)
    (local $at i32) (local $byte i32) (local $field i32) (local $field_end i32) (local $slot i32) (local $count i32)
    (local $escaped i32) (local $passed i32)
    (local.set $separators (i8x16.splat (local.get $separator)))
    (local.set $escapes (i8x16.splat (local.get $escape)))
    (local.set $base (i32.sub (local.get $from) (i32.const 16)))
    (local.set $field (local.get $from))
    (local.set $slot (i32.const 320))
    (block $ended
      (loop $next
        ;; the next special byte; at the text's end a line feed is read
        (block $found
          (loop $chunk
            (br_if $found (local.get $mask))
            (local.set $base (i32.add (local.get $base) (i32.const 16)))
            (if (i32.ge_u (local.get $base) (local.get $end))
              (then (local.set $mask (i32.const 1)) (br $found)))
            (local.set $bytes (v128.load align=1 (local.get $base)))
            (local.set $mask (i8x16.bitmask (v128.or
              (i8x16.eq (local.get $bytes) (local.get $separators))
              (v128.or
                (i8x16.eq (local.get $bytes) (local.get $escapes))
                (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 10)))))))
            (br $chunk)))
        (local.set $at (i32.add (local.get $base) (i32.ctz (local.get $mask))))
        (local.set $mask (i32.and (local.get $mask) (i32.sub (local.get $mask) (i32.const 1))))
        (if (i32.ge_u (local.get $at) (local.get $end))
          (then (local.set $at (local.get $end)) (local.set $byte (i32.const 10)))
          (else (local.set $byte (i32.load8_u (local.get $at)))))
        (local.set $field_end (local.get $at))
        (if (i32.eq (local.get $byte) (i32.const 10))
          (then (local.set $field_end (call $line_end (local.get $from) (local.get $at))))
          (else
            (if (i32.eq (local.get $byte) (local.get $escape))
              (then
                (if (i32.ne (local.get $at) (local.get $passed))
                  (then (if (i32.eqz (call $ends_line (i32.add (local.get $at) (i32.const 1)) (local.get $end)))
                    (then
                      (local.set $escaped (i32.const 1))
                      (local.set $passed (i32.add (local.get $at) (i32.const 1)))))))
                (br $next)))
            (br_if $next (i32.eq (local.get $at) (local.get $passed)))))
        (if (i32.lt_u (local.get $count) (i32.const 1024))
          (then
            (i32.store (local.get $slot) (local.get $field))
            (i32.store offset=4104 (local.get $slot) (local.get $field_end))
            (if (local.get $escaped)
              (then
                (i32.store (local.get $slot) (local.get $top))
                (local.set $top (call $unescape
                  (local.get $field) (local.get $field_end) (local.get $top) (local.get $escape)))
                (i32.store offset=4104 (local.get $slot) (local.get $top))))))
        (local.set $escaped (i32.const 0))
        (local.set $slot (i32.add (local.get $slot) (i32.const 4)))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $ended (i32.eq (local.get $byte) (i32.const 10)))
        (local.set $field (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 264) (local.get $count))
    (i32.store (i32.const 268) (local.get $field_end))
    (i32.store (i32.const 272) (i32.add (local.get $at) (i32.const 1)))
    (i32.store (i32.const 276) (i32.const -1))
    (local.get $top))

  ;; accept_call(): appends the call that stands in the fields from address 64 on to the records, whose end at address 192
  ;; moves on. Adds its rows in cdr_by_number to the count at 196, and the bytes of its texts to the sums at 208 (once)
  ;; and 228 (once for each of these rows); keeps the earliest and the latest start at 248 and 256.
  ;;
  ;; A record: calling, dialed and displayed key (doubles), start and offset (64-bit integers), record key (64 bits),
  ;; duration, talk, partition, line (32), feed (16), outcome, direction, talk unknown, nothing (8), sizes of the texts
  ;; (16), texts.
  (func (export "accept_call")
    (local $record i32) (local $rows i32) (local $pair i32) (local $size_at i32) (local $sum i32)
    (local $from i32) (local $length i32) (local $rest i32) (local $out i32) (local $text i32) (local $start i64)
    (local.set $record (i32.load (i32.const 192)))
    (v128.store (local.get $record) (v128.load (i32.const 112)))
    (f64.store offset=16 (local.get $record) (f64.load (i32.const 128)))
    (local.set $start (i64.trunc_sat_f64_s (f64.load (i32.const 64))))
    (i64.store offset=24 (local.get $record) (local.get $start))
    (if (i64.lt_s (local.get $start) (i64.load (i32.const 248))) (then (i64.store (i32.const 248) (local.get $start))))
    (if (i64.gt_s (local.get $start) (i64.load (i32.const 256))) (then (i64.store (i32.const 256) (local.get $start))))
    (i64.store offset=32 (local.get $record) (i64.trunc_sat_f64_s (f64.load (i32.const 72))))
    (v128.store offset=40 (local.get $record) (v128.load (i32.const 80)))
    (v128.store offset=56 (local.get $record) (v128.load (i32.const 96)))
    (local.set $rows (i32.add (i32.const 1) (f64.eq (f64.load (i32.const 128)) (f64.load (i32.const 128)))))
    (i32.store (i32.const 196) (i32.add (i32.load (i32.const 196)) (local.get $rows)))
    ;; texts, and the size of each with its length
    (local.set $pair (i32.const 136))
    (local.set $size_at (i32.add (local.get $record) (i32.const 70)))
    (local.set $sum (i32.const 208))
    (local.set $out (i32.add (local.get $record) (i32.const 80)))
    (loop $texts
      (local.set $text (local.get $out))
      (local.set $from (i32.load (local.get $pair)))
      (local.set $length (i32.sub (i32.load offset=4 (local.get $pair)) (local.get $from)))
      (local.set $rest (local.get $length))
      (block $last_byte
        (loop $length_byte
          (br_if $last_byte (i32.lt_u (local.get $rest) (i32.const 128)))
          (i32.store8 (local.get $out) (i32.or (local.get $rest) (i32.const 128)))
          (local.set $out (i32.add (local.get $out) (i32.const 1)))
          (local.set $rest (i32.shr_u (local.get $rest) (i32.const 7)))
          (br $length_byte)))
      (i32.store8 (local.get $out) (local.get $rest))
      (local.set $out (i32.add (local.get $out) (i32.const 1)))
      (if (i32.le_u (local.get $length) (i32.const 32))
        (then
          (v128.store align=1 (local.get $out) (v128.load align=1 (local.get $from)))
          (v128.store offset=16 align=1 (local.get $out) (v128.load offset=16 align=1 (local.get $from))))
        (else (memory.copy (local.get $out) (local.get $from) (local.get $length))))
      (local.set $out (i32.add (local.get $out) (local.get $length)))
      (local.set $length (i32.sub (local.get $out) (local.get $text)))
      (i32.store16 (local.get $size_at) (local.get $length))
      (i32.store (local.get $sum) (i32.add (i32.load (local.get $sum)) (local.get $length)))
      (i32.store offset=20 (local.get $sum)
        (i32.add (i32.load offset=20 (local.get $sum)) (i32.mul (local.get $length) (local.get $rows))))
      (local.set $sum (i32.add (local.get $sum) (i32.const 4)))
      (local.set $size_at (i32.add (local.get $size_at) (i32.const 2)))
      (local.set $pair (i32.add (local.get $pair) (i32.const 8)))
      (br_if $texts (i32.lt_u (local.get $pair) (i32.const 176))))
    (i32.store (i32.const 192) (i32.and (i32.add (local.get $out) (i32.const 7)) (i32.const -8))))

  ;; list_rows(records, end, entries, by_numbers): writes an entry for each record by its calling key, or (by_numbers) one
  ;; by its dialed key, and one by its displayed key where that is not NaN. The start in an entry is counted from the
  ;; earliest one, in units that let the latest one fit into 32 bits.
  (func (export "list_rows") (param $record i32) (param $end i32) (param $entry i32) (param $by_numbers i32)
    (local $size_at i32) (local $sizes_end i32) (local $unit i64) (local $start i64)
    (local.set $start (i64.sub (i64.load (i32.const 256)) (i64.load (i32.const 248))))
    (block $fits
      (loop $halve
        (br_if $fits (i64.lt_u (i64.shr_u (local.get $start) (local.get $unit)) (i64.const 0x100000000)))
        (local.set $unit (i64.add (local.get $unit) (i64.const 1)))
        (br $halve)))
    (block $done
      (loop $records
        (br_if $done (i32.ge_u (local.get $record) (local.get $end)))
        (i64.store (local.get $entry) (i64.trunc_sat_f64_u
          (f64.load (i32.add (local.get $record) (i32.shl (local.get $by_numbers) (i32.const 3))))))
        (local.set $start (i64.shl (i64.shr_u (i64.sub (i64.load offset=24 (local.get $record)) (i64.load (i32.const 248)))
          (local.get $unit)) (i64.const 32)))
        (i64.store offset=8 (local.get $entry) (i64.or (local.get $start) (i64.extend_i32_u (local.get $record))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 16)))
        (if (i32.and (local.get $by_numbers)
            (f64.eq (f64.load offset=16 (local.get $record)) (f64.load offset=16 (local.get $record))))
          (then
            (i64.store (local.get $entry) (i64.trunc_sat_f64_u (f64.load offset=16 (local.get $record))))
            (i64.store offset=8 (local.get $entry)
              (i64.or (local.get $start) (i64.extend_i32_u (i32.or (local.get $record) (i32.const 1)))))
            (local.set $entry (i32.add (local.get $entry) (i32.const 16)))))
        (local.set $size_at (i32.add (local.get $record) (i32.const 70)))
        (local.set $sizes_end (i32.add (local.get $record) (i32.const 80)))
        (local.set $record (local.get $sizes_end))
        (loop $sizes
          (local.set $record (i32.add (local.get $record) (i32.load16_u (local.get $size_at))))
          (local.set $size_at (i32.add (local.get $size_at) (i32.const 2)))
          (br_if $sizes (i32.lt_u (local.get $size_at) (local.get $sizes_end))))
        (local.set $record (i32.and (i32.add (local.get $record) (i32.const 7)) (i32.const -8)))
        (br $records))))

  ;; sort_entries(entries, spare, count, counts): sorts entries by their keys (below 2^55), and those of one key by start;
  ;; entries that have both in common stay in order. A radix sort of eight digits of 11 bits, three of the start and five
  ;; of the key. `spare` has room for as many; `counts` are 8 * 2048 32-bit integers. Gives the address of the sorted
  ;; entries, which is one of the two.
  (func (export "sort_entries")
    (param $entries i32) (param $spare i32) (param $count i32) (param $counts i32) (result i32)
    (local $end i32) (local $entry i32) (local $key i64) (local $row i64) (local $place i32) (local $to i32)
    (local $digit i32) (local $sum i32) (local $size i32) (local $digits i32) (local $shift i64) (local $word i32)
    (if (i32.eqz (local.get $count)) (then (return (local.get $entries))))
    (memory.fill (local.get $counts) (i32.const 0) (i32.const 65536))
    (local.set $entry (local.get $entries))
    (local.set $end (i32.add (local.get $entries) (i32.shl (local.get $count) (i32.const 4))))
    (loop $count_all
      (local.set $key (i64.load (local.get $entry)))
      (local.set $row (i64.load offset=8 (local.get $entry)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 0)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $row) (i64.const 32)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 8192)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $row) (i64.const 43)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 16384)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $row) (i64.const 54)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 24576)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $key) (i64.const 0)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 32768)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $key) (i64.const 11)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 40960)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $key) (i64.const 22)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 49152)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $key) (i64.const 33)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $place (i32.add (local.get $counts) (i32.add (i32.const 57344)
        (i32.shl (i32.wrap_i64 (i64.and (i64.shr_u (local.get $key) (i64.const 44)) (i64.const 2047))) (i32.const 2)))))
      (i32.store (local.get $place) (i32.add (i32.load (local.get $place)) (i32.const 1)))
      (local.set $entry (i32.add (local.get $entry) (i32.const 16)))
      (br_if $count_all (i32.lt_u (local.get $entry) (local.get $end))))
    (local.set $digits (local.get $counts))
    ;; the start stands in the upper half of an entry's second word
    (local.set $word (i32.const 8))
    (local.set $shift (i64.const 32))
    (loop $pass
      (block $passed
        ;; nothing to move where all entries share the digit
        (br_if $passed (i32.eq (local.get $count) (i32.load (i32.add (local.get $digits) (i32.shl (i32.wrap_i64
          (i64.and (i64.shr_u (i64.load (i32.add (local.get $entries) (local.get $word))) (local.get $shift))
            (i64.const 2047))) (i32.const 2))))))
        ;; counts become the places at which each digit's entries begin
        (local.set $sum (local.get $spare))
        (local.set $digit (local.get $digits))
        (loop $sums
          (local.set $size (i32.load (local.get $digit)))
          (i32.store (local.get $digit) (local.get $sum))
          (local.set $sum (i32.add (local.get $sum) (i32.shl (local.get $size) (i32.const 4))))
          (local.set $digit (i32.add (local.get $digit) (i32.const 4)))
          (br_if $sums (i32.lt_u (local.get $digit) (i32.add (local.get $digits) (i32.const 8192)))))
        (local.set $entry (local.get $entries))
        (local.set $end (i32.add (local.get $entries) (i32.shl (local.get $count) (i32.const 4))))
        (loop $move
          (local.set $key (i64.load (i32.add (local.get $entry) (local.get $word))))
          (local.set $place (i32.add (local.get $digits) (i32.shl (i32.wrap_i64
            (i64.and (i64.shr_u (local.get $key) (local.get $shift)) (i64.const 2047))) (i32.const 2))))
          (local.set $to (i32.load (local.get $place)))
          (i32.store (local.get $place) (i32.add (local.get $to) (i32.const 16)))
          (v128.store (local.get $to) (v128.load (local.get $entry)))
          (local.set $entry (i32.add (local.get $entry) (i32.const 16)))
          (br_if $move (i32.lt_u (local.get $entry) (local.get $end))))
        (local.set $to (local.get $entries))
        (local.set $entries (local.get $spare))
        (local.set $spare (local.get $to)))
      (local.set $digits (i32.add (local.get $digits) (i32.const 8192)))
      (local.set $shift (i64.add (local.get $shift) (i64.const 11)))
      (if (i64.eq (local.get $shift) (i64.const 65))
        (then
          (local.set $word (i32.const 0))
          (local.set $shift (i64.const 0))))
      (br_if $pass (i64.ne (local.get $shift) (i64.const 55))))
    (local.get $entries))

  ;; 1 where row a (a record's address, plus its role) comes behind row b of the same number: by start, record key,
  ;; role; and among equal ones the later source first
  (func $comes_behind (param $a i32) (param $b i32) (result i32)
    (local $record_a i32) (local $record_b i32)
    (local.set $record_a (i32.and (local.get $a) (i32.const -8)))
    (local.set $record_b (i32.and (local.get $b) (i32.const -8)))
    (if (i64.ne (i64.load offset=24 (local.get $record_a)) (i64.load offset=24 (local.get $record_b)))
      (then (return (i64.gt_s (i64.load offset=24 (local.get $record_a)) (i64.load offset=24 (local.get $record_b))))))
    (if (i64.ne (i64.load offset=40 (local.get $record_a)) (i64.load offset=40 (local.get $record_b)))
      (then (return (i64.gt_u (i64.load offset=40 (local.get $record_a)) (i64.load offset=40 (local.get $record_b))))))
    (if (i32.ne (i32.and (local.get $a) (i32.const 1)) (i32.and (local.get $b) (i32.const 1)))
      (then (return (i32.and (local.get $a) (i32.const 1)))))
    (i32.lt_u (local.get $record_a) (local.get $record_b)))

  ;; order_runs(from, end): puts the entries of each number, which follow each other, in order. They are nearly in order
  ;; of time, so it sorts by insertion; where a run takes more than 8 moves an entry, it gives the run's address to the caller,
  ;; who sorts that run otherwise and calls again behind it. Gives `end` where all is done.
  (func (export "order_runs") (param $run i32) (param $end i32) (result i32)
    (local $run_end i32) (local $next i32) (local $at i32) (local $row i32) (local $moves i32)
    (block $done
      (loop $runs
        (br_if $done (i32.ge_u (local.get $run) (local.get $end)))
        (local.set $run_end (i32.add (local.get $run) (i32.const 16)))
        (block $run_ends
          (loop $run_goes_on
            (br_if $run_ends (i32.ge_u (local.get $run_end) (local.get $end)))
            (br_if $run_ends (i64.ne (i64.load (local.get $run_end)) (i64.load (local.get $run))))
            (local.set $run_end (i32.add (local.get $run_end) (i32.const 16)))
            (br $run_goes_on)))
        (local.set $moves (i32.shr_u (i32.sub (local.get $run_end) (local.get $run)) (i32.const 1)))
        (local.set $next (i32.add (local.get $run) (i32.const 16)))
        (block $sorted
          (loop $entries
            (br_if $sorted (i32.ge_u (local.get $next) (local.get $run_end)))
            (local.set $row (i32.load offset=8 (local.get $next)))
            (local.set $at (local.get $next))
            (block $placed
              (loop $move
                (br_if $placed (i32.le_u (local.get $at) (local.get $run)))
                (br_if $placed (i32.eqz (call $comes_behind
                  (i32.load (i32.sub (local.get $at) (i32.const 8))) (local.get $row))))
                (i32.store offset=8 (local.get $at) (i32.load (i32.sub (local.get $at) (i32.const 8))))
                (local.set $at (i32.sub (local.get $at) (i32.const 16)))
                (local.set $moves (i32.sub (local.get $moves) (i32.const 1)))
                (br $move)))
            (i32.store offset=8 (local.get $at) (local.get $row))
            (if (i32.lt_s (local.get $moves) (i32.const 0)) (then (return (local.get $run))))
            (local.set $next (i32.add (local.get $next) (i32.const 16)))
            (br $entries)))
        (local.set $run (local.get $run_end))
        (br $runs)))
    (local.get $end))

  ;; gather(entries, count, columns): writes the columns of the rows in their order. `columns` are the addresses of the
  ;; columns as `COLUMNS` of batch-memory.ts names them: 13 of fixed width, five of texts. Up to 31 bytes behind a text
  ;; column are overwritten. Gives a number without meaning, so that the reads ahead are not optimised away.
  ;;
  ;; Records lie scattered in some 60 MB: the one of the row 16 ahead is touched, so that its cache misses overlap with
  ;; copying. The entries have 16 more behind them, of any records.
  (func (export "gather") (param $entry i32) (param $count i32) (param $columns i32) (result i32)
    (local $end i32) (local $call i32) (local $size_at i32) (local $sizes_end i32) (local $cursor i32)
    (local $from i32) (local $length i32) (local $out i32) (local $touched i32) (local $ahead i32)
    (local $key i32) (local $start_at i32) (local $cdr_key i32) (local $offset i32) (local $duration i32)
    (local $talk i32) (local $partition i32) (local $line i32) (local $feed i32) (local $outcome i32)
    (local $direction i32) (local $talk_unknown i32) (local $role i32)
    (local.set $key (i32.load offset=0 (local.get $columns)))
    (local.set $start_at (i32.load offset=4 (local.get $columns)))
    (local.set $cdr_key (i32.load offset=8 (local.get $columns)))
    (local.set $offset (i32.load offset=12 (local.get $columns)))
    (local.set $duration (i32.load offset=16 (local.get $columns)))
    (local.set $talk (i32.load offset=20 (local.get $columns)))
    (local.set $partition (i32.load offset=24 (local.get $columns)))
    (local.set $line (i32.load offset=28 (local.get $columns)))
    (local.set $feed (i32.load offset=32 (local.get $columns)))
    (local.set $outcome (i32.load offset=36 (local.get $columns)))
    (local.set $direction (i32.load offset=40 (local.get $columns)))
    (local.set $talk_unknown (i32.load offset=44 (local.get $columns)))
    (local.set $role (i32.load offset=48 (local.get $columns)))
    (local.set $end (i32.add (local.get $entry) (i32.shl (local.get $count) (i32.const 4))))
    (block $done
      (loop $row
        (br_if $done (i32.ge_u (local.get $entry) (local.get $end)))
        (local.set $ahead (i32.load offset=264 (local.get $entry)))
        (local.set $touched (i32.add (local.get $touched) (i32.add (i32.load8_u offset=24 (local.get $ahead))
          (i32.add (i32.load8_u offset=80 (local.get $ahead)) (i32.load8_u offset=136 (local.get $ahead))))))
        (local.set $call (i32.and (i32.load offset=8 (local.get $entry)) (i32.const -8)))
        (i64.store (local.get $key) (i64.load (local.get $entry)))
        (local.set $key (i32.add (local.get $key) (i32.const 8)))
        (i64.store (local.get $start_at) (i64.load offset=24 (local.get $call)))
        (local.set $start_at (i32.add (local.get $start_at) (i32.const 8)))
        (i64.store (local.get $cdr_key) (i64.load offset=40 (local.get $call)))
        (local.set $cdr_key (i32.add (local.get $cdr_key) (i32.const 8)))
        (i64.store (local.get $offset) (i64.load offset=32 (local.get $call)))
        (local.set $offset (i32.add (local.get $offset) (i32.const 8)))
        (i32.store (local.get $duration) (i32.load offset=48 (local.get $call)))
        (local.set $duration (i32.add (local.get $duration) (i32.const 4)))
        (i32.store (local.get $talk) (i32.load offset=52 (local.get $call)))
        (local.set $talk (i32.add (local.get $talk) (i32.const 4)))
        (i32.store (local.get $partition) (i32.load offset=56 (local.get $call)))
        (local.set $partition (i32.add (local.get $partition) (i32.const 4)))
        (i32.store (local.get $line) (i32.load offset=60 (local.get $call)))
        (local.set $line (i32.add (local.get $line) (i32.const 4)))
        (i32.store16 (local.get $feed) (i32.load16_u offset=64 (local.get $call)))
        (local.set $feed (i32.add (local.get $feed) (i32.const 2)))
        (i32.store8 (local.get $outcome) (i32.load8_u offset=66 (local.get $call)))
        (local.set $outcome (i32.add (local.get $outcome) (i32.const 1)))
        (i32.store8 (local.get $direction) (i32.load8_u offset=67 (local.get $call)))
        (local.set $direction (i32.add (local.get $direction) (i32.const 1)))
        (i32.store8 (local.get $talk_unknown) (i32.load8_u offset=68 (local.get $call)))
        (local.set $talk_unknown (i32.add (local.get $talk_unknown) (i32.const 1)))
        (i32.store8 (local.get $role) (i32.and (i32.load offset=8 (local.get $entry)) (i32.const 1)))
        (local.set $role (i32.add (local.get $role) (i32.const 1)))
        (local.set $from (i32.add (local.get $call) (i32.const 80)))
        (local.set $size_at (i32.add (local.get $call) (i32.const 70)))
        (local.set $sizes_end (i32.add (local.get $call) (i32.const 80)))
        (local.set $cursor (i32.add (local.get $columns) (i32.const 52)))
        (loop $text
          (local.set $length (i32.load16_u (local.get $size_at)))
          (local.set $out (i32.load (local.get $cursor)))
          (if (i32.le_u (local.get $length) (i32.const 32))
            (then
              (v128.store align=1 (local.get $out) (v128.load align=1 (local.get $from)))
              (v128.store offset=16 align=1 (local.get $out) (v128.load offset=16 align=1 (local.get $from))))
            (else (memory.copy (local.get $out) (local.get $from) (local.get $length))))
          (i32.store (local.get $cursor) (i32.add (local.get $out) (local.get $length)))
          (local.set $from (i32.add (local.get $from) (local.get $length)))
          (local.set $cursor (i32.add (local.get $cursor) (i32.const 4)))
          (local.set $size_at (i32.add (local.get $size_at) (i32.const 2)))
          (br_if $text (i32.lt_u (local.get $size_at) (local.get $sizes_end))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 16)))
        (br $row)))
    (local.get $touched)))
