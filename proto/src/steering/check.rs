//! The checks that all messages share. Each error names its field.

use crate::series::Invalid;

use super::{MAX_NAME_BYTES, MAX_PARAMETER_BYTES};

/// A part that must be there.
pub(super) fn required<T>(field: &str, part: Option<T>) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid::new(field, "missing"))
}

/// A name: neither empty nor long, and printable.
pub(super) fn name(field: &str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(field, "empty"));
    }
    text(field, name, MAX_NAME_BYTES)
}

/// A name of a parameter: it may hold a group and a backend.
pub(super) fn parameter(parameter: &str) -> Result<(), Invalid> {
    if parameter.is_empty() {
        return Err(Invalid::new("parameter", "empty"));
    }
    text("parameter", parameter, MAX_PARAMETER_BYTES)
}

/// A text that may be empty.
pub(super) fn text(field: &str, text: &str, bytes: usize) -> Result<(), Invalid> {
    if text.len() > bytes {
        return Err(Invalid::new(field, format!("longer than {bytes} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "holds a control character"));
    }
    Ok(())
}

/// A list that is not too long.
pub(super) fn at_most<T>(field: &str, list: &[T], most: usize) -> Result<(), Invalid> {
    if list.len() > most {
        return Err(Invalid::new(field, format!("more than {most}")));
    }
    Ok(())
}

/// Converts a list; the error says which one it was.
pub(super) fn each<W, T>(field: &str, list: Vec<W>) -> Result<Vec<T>, Invalid>
where
    T: TryFrom<W, Error = Invalid>,
{
    let convert = |(index, part)| {
        T::try_from(part).map_err(|error: Invalid| error.within(format_args!("{field}[{index}]")))
    };
    list.into_iter().enumerate().map(convert).collect()
}

/// Numbers that are finite.
pub(super) fn finite(fields: &[(&str, f64)]) -> Result<(), Invalid> {
    within(fields, f64::MIN, f64::MAX, "not a finite number")
}

/// Shares and ratios.
pub(super) fn ratios(fields: &[(&str, f64)]) -> Result<(), Invalid> {
    within(fields, 0.0, 1.0, "not from 0 to 1")
}

/// Differences of ratios.
pub(super) fn deltas(fields: &[(&str, f64)]) -> Result<(), Invalid> {
    within(fields, -1.0, 1.0, "not from -1 to 1")
}

/// Rates and factors, where they are known.
pub(super) fn amounts(fields: &[(&str, Option<f64>)]) -> Result<(), Invalid> {
    let known: Vec<_> = fields.iter().filter_map(|(field, x)| x.map(|x| (*field, x))).collect();
    within(&known, 0.0, f64::MAX, "negative or not a finite number")
}

fn within(fields: &[(&str, f64)], least: f64, most: f64, reason: &str) -> Result<(), Invalid> {
    match fields.iter().find(|(_, value)| !(least..=most).contains(value)) {
        Some((field, _)) => Err(Invalid::new(*field, reason)),
        None => Ok(()),
    }
}

/// An interval that holds what it is about.
pub(super) fn interval(field: &str, low: f64, value: f64, high: f64) -> Result<(), Invalid> {
    if low <= value && value <= high {
        return Ok(());
    }
    Err(Invalid::new(field, "not between low and high"))
}

/// A text for people made fit to be sent: without control characters, and cut after `bytes` at most.
pub fn clip(text: &str, bytes: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=bytes.min(plain.len())).rev().find(|&end| plain.is_char_boundary(end));
    plain[..end.unwrap_or(0)].to_owned()
}
