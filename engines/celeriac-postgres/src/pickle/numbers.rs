//! Whole numbers of any size, as pickles have them: little-endian two's complement.

use celeriac_protocol::json::Value;

/// The longest number that is read or written, in bytes: changing the base takes the square of it.
const BYTES_MAX: usize = 4_096;

/// Reads a number; none when it is too long.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Value> {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    if bytes.len() <= 8 {
        let mut whole = if negative { [0xff; 8] } else { [0; 8] };
        whole[..bytes.len()].copy_from_slice(bytes);
        return Some(Value::Int(i64::from_le_bytes(whole)));
    }
    if bytes.len() > BYTES_MAX {
        return None;
    }
    let mut magnitude = bytes.to_vec();
    if negative {
        negate(&mut magnitude);
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in magnitude.iter_mut().rev() {
            let part = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(part / 10).unwrap_or(0);
            rest = part % 10;
        }
        digits.push(char::from_digit(rest, 10)?);
    }
    if negative {
        digits.push('-');
    }
    let text: String = digits.into_iter().rev().collect();
    Some(text.parse().map_or(Value::BigInt(text), Value::Int))
}

/// Writes a number that is given by its digits; none when it is none or too long.
pub(super) fn to_bytes(digits: &str) -> Option<Vec<u8>> {
    let (negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
    if digits.len() > BYTES_MAX * 2 {
        return None;
    }
    let mut bytes = Vec::new();
    for digit in digits.chars() {
        let mut carry = digit.to_digit(10)?;
        for byte in &mut bytes {
            let part = u32::from(*byte) * 10 + carry;
            *byte = part.to_le_bytes()[0];
            carry = part >> 8;
        }
        if carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
        }
    }
    // Room for the sign.
    bytes.push(0);
    if negative {
        negate(&mut bytes);
    }
    Some(bytes)
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
        *byte = sum;
        carry = over;
    }
}

/// A UUID's number as its 32 hexadecimal digits.
pub(super) fn hex(number: &Value) -> Option<String> {
    let value: u128 = match number {
        Value::Int(int) => u128::try_from(*int).ok()?,
        Value::BigInt(digits) => digits.parse().ok()?,
        _ => return None,
    };
    Some(format!("{value:032x}"))
}
