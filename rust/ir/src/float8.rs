//! The 8-bit floats of the OCP formats (MX specification) and their `fnuz` variants: what a byte means, and how a
//! float32 is rounded to one, as PyTorch does. Arithmetic on them does not exist; who needs it converts.

use crate::dtype::DType;

/// One format. `magnitude` is the byte without its sign.
#[derive(Clone, Copy)]
pub struct Float8 {
    /// Bits of the mantissa.
    mantissa: u32,
    bias: i32,
    /// Largest finite magnitude.
    max: u32,
    /// The magnitude of what lies beyond it.
    beyond: u32,
    /// One zero and one NaN, whose byte is that of a negative zero.
    unsigned_zero: bool,
}

pub const E4M3: Float8 = Float8 { mantissa: 3, bias: 7, max: 0x7e, beyond: 0x7e, unsigned_zero: false };
pub const E5M2: Float8 = Float8 { mantissa: 2, bias: 15, max: 0x7b, beyond: 0x7c, unsigned_zero: false };
pub const E4M3Z: Float8 = Float8 { mantissa: 3, bias: 8, max: 0x7f, beyond: 0x80, unsigned_zero: true };
pub const E5M2Z: Float8 = Float8 { mantissa: 2, bias: 16, max: 0x7f, beyond: 0x80, unsigned_zero: true };

/// 2 to a power in float32's range, subnormal powers included.
const fn power(e: i32) -> f32 {
    f32::from_bits(if e >= -126 { ((e + 127) as u32) << 23 } else { 1 << (e + 149) })
}

impl Float8 {
    /// Rounded to the nearest, ties to even; what is beyond the largest becomes infinite, NaN or (`e4m3fn`, which has
    /// no infinity) the largest.
    #[inline(always)]
    pub const fn encode(self, x: f32) -> u8 {
        let bits = x.to_bits();
        let (sign, a) = ((bits >> 24) & 0x80, bits & 0x7fff_ffff);
        if a > 0x7f80_0000 {
            return if self.unsigned_zero { 0x80 } else { (sign | 0x7f) as u8 };
        }
        let shift = 23 - self.mantissa;
        let least = ((128 - self.bias) as u32) << 23;
        let magnitude = if a < least {
            // below the normal numbers: adding a power whose last bit is the format's smallest step rounds to it
            let magic = power(24 - self.bias - self.mantissa as i32);
            (f32::from_bits(a) + magic).to_bits() - magic.to_bits()
        } else {
            let even = (a >> shift) & 1;
            ((a + (1 << (shift - 1)) - 1 + even) >> shift) - (((127 - self.bias) as u32) << self.mantissa)
        };
        let magnitude = if magnitude > self.max { self.beyond } else { magnitude };
        if self.unsigned_zero && magnitude == 0 { 0 } else { (sign | magnitude) as u8 }
    }

    pub const fn decode(self, byte: u8) -> f32 {
        let magnitude = (byte & 0x7f) as u32;
        let (e, m) = ((magnitude >> self.mantissa) as i32, magnitude & ((1 << self.mantissa) - 1));
        let value = if self.unsigned_zero && byte == 0x80 || !self.unsigned_zero && magnitude > self.beyond {
            f32::NAN
        } else if magnitude > self.max {
            f32::INFINITY
        } else if e == 0 {
            m as f32 * power(1 - self.bias - self.mantissa as i32)
        } else {
            (1.0 + m as f32 / (1 << self.mantissa) as f32) * power(e - self.bias)
        };
        if byte & 0x80 != 0 { -value } else { value }
    }
}

/// `float8_e8m0fnu`: powers of two alone. A sign is dropped, ties go up.
#[inline(always)]
pub const fn encode_scale(x: f32) -> u8 {
    let a = x.to_bits() & 0x7fff_ffff;
    let (e, m) = (a >> 23, a & 0x7f_ffff);
    if e == 255 {
        return 255;
    }
    // the smallest power is subnormal in float32, and 0 there is what reaches no half of it
    let up = if e == 0 { m > 0x40_0000 } else { m >= 0x40_0000 };
    (e + up as u32) as u8
}

pub const fn decode_scale(byte: u8) -> f32 {
    if byte == 255 { f32::NAN } else { power(byte as i32 - 127) }
}

/// A float32 as a byte of an 8-bit dtype; None for the other dtypes.
pub const fn encode(dtype: DType, x: f32) -> Option<u8> {
    Some(match dtype {
        DType::E4M3 => E4M3.encode(x),
        DType::E5M2 => E5M2.encode(x),
        DType::E4M3Z => E4M3Z.encode(x),
        DType::E5M2Z => E5M2Z.encode(x),
        DType::E8M0 => encode_scale(x),
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128
        | DType::U16
        | DType::U32
        | DType::U64 => return None,
    })
}

/// The value of each byte of an 8-bit dtype.
pub const fn values(dtype: DType) -> [f32; 256] {
    let mut out = [0.0; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        out[i] = match dtype {
            DType::E5M2 => E5M2.decode(b),
            DType::E4M3Z => E4M3Z.decode(b),
            DType::E5M2Z => E5M2Z.decode(b),
            DType::E8M0 => decode_scale(b),
            _ => E4M3.decode(b),
        };
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_its_own_rounding_and_neighbours_share_the_middle() {
        for dtype in DType::ALL.into_iter().filter(|d| d.is_float8()) {
            let value = values(dtype);
            for b in 0..=255u8 {
                let v = value[b as usize];
                let back = encode(dtype, v).unwrap();
                assert!(back == b || v.is_nan() && value[back as usize].is_nan(), "{dtype} {b} {v} {back}");
            }
            let top = if dtype == DType::E8M0 { 254 } else { 126 };
            for b in 0..top {
                let (lo, hi) = (value[b as usize], value[b as usize + 1]);
                // what rounds to e8m0's smallest is subnormal: the middle lies elsewhere there
                if !hi.is_finite() || dtype == DType::E8M0 && b == 0 {
                    continue;
                }
                let middle = lo + (hi - lo) / 2.0;
                // e8m0 rounds ties up
                let tie = if dtype == DType::E8M0 { b + 1 } else { b + (b & 1) };
                assert_eq!(encode(dtype, middle), Some(tie), "{dtype} {b}");
                assert_eq!(encode(dtype, middle.next_up()), Some(b + 1), "{dtype} {b}");
                assert_eq!(encode(dtype, middle.next_down()), Some(b), "{dtype} {b}");
            }
        }
    }

    #[test]
    fn what_is_too_large_saturates_overflows_or_is_no_number() {
        let of = |d| [464.0, 1e6, f32::INFINITY, f32::NEG_INFINITY, f32::NAN].map(|x| encode(d, x).unwrap());
        assert_eq!(of(DType::E4M3), [126, 126, 126, 254, 127]);
        assert_eq!(of(DType::E5M2), [95, 124, 124, 252, 127]);
        assert_eq!(of(DType::E4M3Z), [128; 5]);
        assert_eq!(of(DType::E5M2Z), [99, 128, 128, 128, 128]);
        assert_eq!(of(DType::E8M0), [136, 147, 255, 255, 255]);
    }
}
