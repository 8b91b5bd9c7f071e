;; SipHash-2-4 with a 64-bit result over bytes of this module's memory: 64-bit arithmetic that JavaScript
;; numbers do not have. The twin for reading is schemas/siphash.ts; tests hold both and ClickHouse together.
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
      (i64.xor (i64.xor (local.get $v0) (local.get $v1)) (i64.xor (local.get $v2) (local.get $v3))))))
