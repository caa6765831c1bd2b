//! What a series is: a metric with its attributes on a node, and how its raw integers become values.
//!
//! Most host metrics are decimal or whole numbers, so a sample travels and is stored as an integer (`raw`) next to
//! a [`Scale`] that is constant for the series: `12.34 s` is `1234` at scale 2. Deltas of integers are small where the bits of
//! doubles are not. True floats keep their bits ([`Scale::FLOAT`]).

use std::fmt;

use crate::v1;

/// Longest metric name, attribute key or node name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Longest attribute value, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 256;
/// Most attributes of one series.
pub const MAX_ATTRIBUTES: usize = 16;

/// Name of a node: 1 to 255 bytes, no control characters, unique in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(std::sync::Arc<str>);

/// How the values of a series may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Never decreases but for resets.
    Counter,
    /// Any value at any time.
    Gauge,
}

/// How a raw integer becomes a value; constant for a series. The codes are those of the wire and of the store:
/// 0 the integer itself, 1 to 9 divided by that power of ten, -1 to -40 multiplied by that power of two, -128 the bits of a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scale(i8);

/// A series without its node: metric, unit, kind, scale and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Series {
    /// Name by OpenTelemetry's semantic conventions, 1 to 255 bytes.
    pub metric: String,
    /// Unit in UCUM, for example `By`, `s`, `1`.
    pub unit: String,
    /// Counter or gauge.
    pub kind: Kind,
    /// How raw integers become values.
    pub scale: Scale,
    /// Sorted by key, keys unique.
    pub attributes: Vec<(String, String)>,
}

/// A definition or a name that breaks a rule; says which field and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Field of the message, for example `series[3].metric`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl NodeName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// When it is empty, longer than 255 bytes or holds a control character.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        check_name("node", name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Kind {
    /// `counter` or `gauge`, as the API and the store spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

impl Scale {
    /// The raw integer is the value.
    pub const UNIT: Self = Self(0);
    /// The raw integer holds the bits of an IEEE 754 double.
    pub const FLOAT: Self = Self(i8::MIN);
    /// Kibibytes as bytes.
    pub const KIBI: Self = Self(-10);

    /// Divides by ten to the power `digits`, 1 to 9.
    pub const fn decimal(digits: u8) -> Self {
        assert!(digits >= 1 && digits <= 9, "decimal digits are 1 to 9");
        Self(digits as i8)
    }

    /// Multiplies by two to the power `bits`, 1 to 40: 9 for sectors as bytes.
    pub const fn binary(bits: u8) -> Self {
        assert!(bits >= 1 && bits <= 40, "binary digits are 1 to 40");
        Self(-(bits as i8))
    }

    /// Checks a code from the wire or the store.
    ///
    /// # Errors
    /// When the code has no meaning.
    pub fn from_code(code: i32) -> Result<Self, Invalid> {
        match code {
            -40..=9 | -128 => Ok(Self(code as i8)),
            _ => Err(Invalid::new("scale", "not one of 0, 1 to 9, -1 to -40, -128")),
        }
    }

    /// The code as wire and store have it.
    pub const fn code(self) -> i8 {
        self.0
    }

    /// True when raw integers are bits of doubles.
    pub const fn is_float(self) -> bool {
        self.0 == i8::MIN
    }

    /// The value that `raw` stands for. Exact for integers below 2^53 and correctly rounded for decimals.
    pub fn value(self, raw: i64) -> f64 {
        match self.0 {
            i8::MIN => f64::from_bits(raw as u64),
            0 => raw as f64,
            digits @ 1..=9 => raw as f64 / 10_i64.pow(digits as u32) as f64,
            power => raw as f64 * (1_i64 << -power) as f64,
        }
    }

    /// The raw integer nearest to `value`; `None` when it is not finite or does not fit (never for [`Scale::FLOAT`]).
    pub fn raw(self, value: f64) -> Option<i64> {
        let scaled = match self.0 {
            i8::MIN => return Some(value.to_bits() as i64),
            0 => value,
            digits @ 1..=9 => value * 10_i64.pow(digits as u32) as f64,
            power => value / (1_i64 << -power) as f64,
        };
        (scaled.abs() < 9.2e18).then(|| scaled.round() as i64)
    }
}

impl Series {
    /// Value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

impl Invalid {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The same of a message that is a part of another one, in its field `outer`.
    #[must_use]
    pub fn within(self, outer: impl fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field), reason: self.reason }
    }
}

impl TryFrom<v1::SeriesDefinition> for Series {
    type Error = Invalid;

    fn try_from(definition: v1::SeriesDefinition) -> Result<Self, Invalid> {
        let kind = match v1::Kind::try_from(definition.kind) {
            Ok(v1::Kind::Counter) => Kind::Counter,
            Ok(v1::Kind::Gauge) => Kind::Gauge,
            _ => return Err(Invalid::new("kind", "neither counter nor gauge")),
        };
        let scale = Scale::from_code(definition.scale)?;
        let attributes = definition.attributes.into_iter().map(|a| (a.key, a.value)).collect();
        let series =
            Self { metric: definition.metric, unit: definition.unit, kind, scale, attributes };
        series.check()?;
        Ok(series)
    }
}

impl Series {
    /// Checks the rules that the other side will hold the series to.
    ///
    /// # Errors
    /// When a name is empty, too long or holds a control character, or the attributes are too many or not sorted.
    pub fn check(&self) -> Result<(), Invalid> {
        check_name("metric", &self.metric)?;
        if self.unit.len() > MAX_NAME_BYTES {
            return Err(Invalid::new("unit", "longer than 255 bytes"));
        }
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(Invalid::new("attributes", "more than 16"));
        }
        for (key, value) in &self.attributes {
            check_name("attributes.key", key)?;
            if value.len() > MAX_ATTRIBUTE_BYTES {
                return Err(Invalid::new(format!("attributes.{key}"), "longer than 256 bytes"));
            }
        }
        if !self.attributes.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(Invalid::new("attributes", "not sorted by key, or a key twice"));
        }
        Ok(())
    }
}

impl Series {
    /// The message that defines this series in `slot`.
    pub fn to_definition(&self, slot: u32) -> v1::SeriesDefinition {
        let kind = match self.kind {
            Kind::Counter => v1::Kind::Counter,
            Kind::Gauge => v1::Kind::Gauge,
        };
        let attribute = |(key, value): &(String, String)| v1::Attribute {
            key: key.clone(),
            value: value.clone(),
        };
        v1::SeriesDefinition {
            slot,
            metric: self.metric.clone(),
            unit: self.unit.clone(),
            kind: kind.into(),
            scale: i32::from(self.scale.code()),
            attributes: self.attributes.iter().map(attribute).collect(),
        }
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(field, "empty"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Invalid::new(field, "longer than 255 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid::new(field, "holds a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn definition() -> v1::SeriesDefinition {
        let series = Series {
            metric: "system.disk.io".into(),
            unit: "By".into(),
            kind: Kind::Counter,
            scale: Scale::KIBI,
            attributes: vec![("a".into(), "1".into()), ("b".into(), String::new())],
        };
        series.to_definition(7)
    }

    fn scales() -> impl Strategy<Value = Scale> {
        (-40..=9_i32).prop_map(|code| Scale::from_code(code).unwrap())
    }

    proptest! {
        #[test]
        fn a_raw_integer_below_2_to_50_survives_its_value(
            scale in scales(),
            raw in -(1_i64 << 50)..1 << 50,
        ) {
            // There and back is rounded twice, by half a bit of 53 each.
            prop_assert_eq!(scale.raw(scale.value(raw)), Some(raw));
        }

        #[test]
        fn the_bits_of_a_double_survive(raw: i64) {
            let value = Scale::FLOAT.value(raw);
            prop_assert_eq!(value.to_bits() as i64, raw);
            prop_assert_eq!(Scale::FLOAT.raw(value), Some(raw));
        }

        #[test]
        fn a_value_is_off_by_half_a_unit_at_most(scale in scales(), value in -1e6..1e6_f64) {
            let back = scale.value(scale.raw(value).unwrap());
            // Scaling and scaling back round once each, by half of the double's own last digit.
            let bound = scale.value(1) * 0.5 + value.abs() * f64::EPSILON;
            prop_assert!((back - value).abs() <= bound, "{value} became {back}");
        }

        #[test]
        fn a_code_is_refused_or_comes_back(code: i32) {
            let known = matches!(code, -40..=9 | -128);
            let scale = Scale::from_code(code);
            prop_assert_eq!(scale.is_ok(), known);
            prop_assert!(scale.is_ok_and(|scale| i32::from(scale.code()) == code) || !known);
        }
    }

    #[test]
    fn what_does_not_fit_has_no_raw_integer() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e19, -1e19] {
            assert_eq!(Scale::UNIT.raw(value), None, "{value}");
            assert_eq!(Scale::decimal(9).raw(value / 1e9), None, "{value}");
        }
        assert_eq!(Scale::decimal(2).value(1234).to_bits(), 12.34_f64.to_bits());
        assert_eq!(Scale::KIBI.value(3).to_bits(), 3072_f64.to_bits());
    }

    #[test]
    fn a_definition_comes_back() {
        let series = Series::try_from(definition()).unwrap();
        assert_eq!(series.to_definition(7), definition());
        assert_eq!((series.attribute("a"), series.attribute("c")), (Some("1"), None));
    }

    #[test]
    fn a_broken_definition_names_its_field() {
        type Break = fn(&mut v1::SeriesDefinition);
        let attribute = |i: usize| v1::Attribute { key: format!("{i:02}"), value: String::new() };
        let many: Vec<_> = (0..17).map(attribute).collect();
        let breaks: [(&str, Break); 12] = [
            ("metric", |d| d.metric.clear()),
            ("metric", |d| d.metric = "m".repeat(256)),
            ("metric", |d| d.metric = "a\nb".into()),
            ("unit", |d| d.unit = "u".repeat(256)),
            ("kind", |d| d.kind = 0),
            ("kind", |d| d.kind = 3),
            ("scale", |d| d.scale = 10),
            ("scale", |d| d.scale = i32::MIN),
            ("attributes.key", |d| d.attributes[0].key.clear()),
            ("attributes.b", |d| d.attributes[1].value = "v".repeat(257)),
            ("attributes", |d| d.attributes.reverse()),
            ("attributes", |d| d.attributes[1].key = "a".into()),
        ];
        for (field, change) in breaks {
            let mut broken = definition();
            change(&mut broken);
            assert_eq!(Series::try_from(broken).unwrap_err().field, field);
        }
        let broken = v1::SeriesDefinition { attributes: many, ..definition() };
        assert_eq!(Series::try_from(broken).unwrap_err().field, "attributes");
    }

    #[test]
    fn a_node_has_a_name() {
        assert_eq!(NodeName::new("web-1").unwrap().as_str(), "web-1");
        for name in ["", "a\tb", &"n".repeat(256)] {
            assert_eq!(NodeName::new(name).unwrap_err().field, "node");
        }
    }
}
