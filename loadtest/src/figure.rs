//! A measured figure with its target.

use serde::Serialize;

#[derive(Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Target,
    pub met: bool,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        let met = match target {
            Target::AtLeast(least) => value >= least,
            Target::AtMost(most) => value <= most,
        };
        Self {
            name: name.into(),
            value,
            unit,
            target,
            met,
        }
    }

    pub fn line(&self) -> String {
        let (sign, bound) = match self.target {
            Target::AtLeast(least) => ("≥", least),
            Target::AtMost(most) => ("≤", most),
        };
        let met = if self.met { "met" } else { "MISSED" };
        format!(
            "{:<62} {:>10} {:<3} {sign} {bound:<6} {met}",
            self.name,
            number(self.value),
            self.unit
        )
    }
}

/// Rounded to three significant digits, with groups of thousands.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "–".into();
    }
    let decimals = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && digit.is_ascii_digit() && (whole.len() - i) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.trim_end_matches('0').is_empty() {
        grouped
    } else {
        format!("{grouped}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_group_thousands() {
        let shown = [0.0, 0.456, 3.0, 4.567, 45.67, 456.7, 4_567.8, 1_234_567.0].map(number);
        assert_eq!(
            shown,
            ["0", "0.46", "3", "4.57", "45.7", "457", "4,568", "1,234,567"]
        );
    }
}
