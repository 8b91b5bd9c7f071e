;; The two things that JavaScript is slow at, over the memory in which a batch is parsed: SipHash-2-4, for its 64-bit
;; arithmetic (the twin for reading is schemas/siphash.ts; tests hold both and ClickHouse together), and gathering
;; short texts in sorted order, for copies of 16 bytes at once.
(module
  (memory (export "memory") 2)
  (global $k0 (mut i64) (i64.const 0))
  (global $k1 (mut i64) (i64.const 0))

  ;; set_key(k0, k1 as four 32-bit halves, low first)
  (func (export "set_key") (param $k0_low i32) (param $k0_high i32) (param $k1_low i32) (param $k1_high i32)
    (global.set $k0 (i64.or (i64.extend_i32_u (local.get $k0_low))
      (i64.shl (i64.extend_i32_u (local.get $k0_high)) (i64.const 32))))
    (global.set $k1 (i64.or (i64.extend_i32_u (local.get $k1_low))
      (i64.shl (i64.extend_i32_u (local.get $k1_high)) (i64.const 32)))))

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

  ;; measure_texts(rows, count, addresses, texts, sizes): adds the bytes that each text column takes, lengths
  ;; included, to `texts` 32-bit sums at `sizes`. `rows` are 32-bit row numbers, `addresses` pairs of start and end.
  (func (export "measure_texts")
    (param $rows i32) (param $count i32) (param $addresses i32) (param $texts i32) (param $sizes i32)
    (local $end i32) (local $pair i32) (local $last_pair i32) (local $size i32) (local $rest i32) (local $length i32)
    (local.set $end (i32.add (local.get $rows) (i32.shl (local.get $count) (i32.const 2))))
    (block $done
      (loop $row
        (br_if $done (i32.ge_u (local.get $rows) (local.get $end)))
        (local.set $pair (i32.add (local.get $addresses)
          (i32.mul (i32.load (local.get $rows)) (i32.shl (local.get $texts) (i32.const 3)))))
        (local.set $last_pair (i32.add (local.get $pair) (i32.shl (local.get $texts) (i32.const 3))))
        (local.set $size (local.get $sizes))
        (loop $text
          (local.set $length (i32.sub (i32.load offset=4 (local.get $pair)) (i32.load (local.get $pair))))
          (local.set $rest (i32.shr_u (local.get $length) (i32.const 7)))
          (local.set $length (i32.add (local.get $length) (i32.const 1)))
          (block $counted
            (loop $length_byte
              (br_if $counted (i32.eqz (local.get $rest)))
              (local.set $length (i32.add (local.get $length) (i32.const 1)))
              (local.set $rest (i32.shr_u (local.get $rest) (i32.const 7)))
              (br $length_byte)))
          (i32.store (local.get $size) (i32.add (i32.load (local.get $size)) (local.get $length)))
          (local.set $size (i32.add (local.get $size) (i32.const 4)))
          (local.set $pair (i32.add (local.get $pair) (i32.const 8)))
          (br_if $text (i32.lt_u (local.get $pair) (local.get $last_pair))))
        (local.set $rows (i32.add (local.get $rows) (i32.const 4)))
        (br $row))))

  ;; gather_texts(rows, count, addresses, texts, cursors): writes each text of each row, length first, where its
  ;; column's 32-bit cursor points, and moves the cursor. Up to 15 bytes behind a cursor are overwritten. Gives a
  ;; number without meaning, so that the reads ahead are not optimised away.
  ;;
  ;; Rows lie scattered in some 20 MB: the addresses of the row 32 ahead and the bytes of the row 16 ahead are
  ;; touched, so that their cache misses overlap with copying. The row list has 32 entries more than `count`.
  (func (export "gather_texts")
    (param $rows i32) (param $count i32) (param $addresses i32) (param $texts i32) (param $cursors i32) (result i32)
    (local $end i32) (local $stride i32) (local $pair i32) (local $last_pair i32) (local $cursor i32)
    (local $from i32) (local $length i32) (local $rest i32) (local $out i32) (local $touched i32)
    (local.set $end (i32.add (local.get $rows) (i32.shl (local.get $count) (i32.const 2))))
    (local.set $stride (i32.shl (local.get $texts) (i32.const 3)))
    (block $done
      (loop $row
        (br_if $done (i32.ge_u (local.get $rows) (local.get $end)))
        (local.set $touched (i32.xor (local.get $touched) (i32.load
          (i32.add (local.get $addresses) (i32.mul (i32.load offset=128 (local.get $rows)) (local.get $stride))))))
        (local.set $touched (i32.xor (local.get $touched) (i32.load8_u (i32.load
          (i32.add (local.get $addresses) (i32.mul (i32.load offset=64 (local.get $rows)) (local.get $stride)))))))
        (local.set $pair (i32.add (local.get $addresses) (i32.mul (i32.load (local.get $rows)) (local.get $stride))))
        (local.set $last_pair (i32.add (local.get $pair) (local.get $stride)))
        (local.set $cursor (local.get $cursors))
        (loop $text
          (local.set $from (i32.load (local.get $pair)))
          (local.set $length (i32.sub (i32.load offset=4 (local.get $pair)) (local.get $from)))
          (local.set $out (i32.load (local.get $cursor)))
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
          (if (i32.le_u (local.get $length) (i32.const 16))
            (then
              (i64.store align=1 (local.get $out) (i64.load align=1 (local.get $from)))
              (i64.store offset=8 align=1 (local.get $out) (i64.load offset=8 align=1 (local.get $from))))
            (else (memory.copy (local.get $out) (local.get $from) (local.get $length))))
          (i32.store (local.get $cursor) (i32.add (local.get $out) (local.get $length)))
          (local.set $cursor (i32.add (local.get $cursor) (i32.const 4)))
          (local.set $pair (i32.add (local.get $pair) (i32.const 8)))
          (br_if $text (i32.lt_u (local.get $pair) (local.get $last_pair))))
        (local.set $rows (i32.add (local.get $rows) (i32.const 4)))
        (br $row)))
    (local.get $touched)))
