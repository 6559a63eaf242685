//! Text into HTML and SVG. Every text from a run goes through [`escape`]: names, panics and answers of
//! nodes may hold anything.

use std::fmt::{Display, Write};

/// A text that means nothing but itself, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML knows no other control characters, not even escaped.
            control if control.is_control() && !"\n\t".contains(control) => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A rectangle: left, top, width, height.
pub(super) type Area = (f64, f64, f64, f64);

/// A picture that grows. Colours come from the classes, so that light and dark share one picture.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A rectangle; `told` appears when somebody points at it.
    pub(super) fn rect(&mut self, class: &str, area: Area, told: &str) {
        let (x, y, width, height) = area;
        self.put(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}">{}</rect>"#,
            width.max(0.0),
            title(told)
        ));
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.put(format_args!(
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    pub(super) fn circle(&mut self, class: &str, at: (f64, f64), radius: f64, told: &str) {
        self.put(format_args!(
            r#"<circle class="{class}" cx="{:.1}" cy="{:.1}" r="{radius}">{}</circle>"#,
            at.0,
            at.1,
            title(told)
        ));
    }

    /// A cross, for what was refused.
    pub(super) fn cross(&mut self, class: &str, (x, y): (f64, f64), told: &str) {
        self.put(format_args!(
            r#"<path class="{class}" d="M{:.1} {:.1}l6 6m0 -6l-6 6">{}</path>"#,
            x - 3.0,
            y - 3.0,
            title(told)
        ));
    }

    /// A curve through points, open.
    pub(super) fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            write!(path, "{command}{x:.1} {y:.1}").expect("a String takes all");
        }
        self.put(format_args!(r#"<path class="{class}" d="{path}"/>"#));
    }

    pub(super) fn text(&mut self, class: &str, at: (f64, f64), text: &str) {
        self.put(format_args!(
            r#"<text class="{class}" x="{:.1}" y="{:.1}">{}</text>"#,
            at.0,
            at.1,
            escape(text)
        ));
    }

    /// The element; `label` is for those who cannot see it.
    pub(super) fn finish(self, label: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            r#"<svg viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img" aria-label="{}">
{body}</svg>
"#,
            escape(label)
        )
    }

    fn put(&mut self, element: impl Display) {
        writeln!(self.body, "{element}").expect("a String takes all");
    }
}

fn title(told: &str) -> String {
    if told.is_empty() { String::new() } else { format!("<title>{}</title>", escape(told)) }
}

/// A character of the pictures' small size, about; too wide rather than too narrow.
const CHARACTER: f64 = 6.7;

/// How wide a text of the pictures' small size is.
pub(super) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// A text, or as much of its beginning as is not wider than this.
pub(super) fn shortened(text: &str, wide: f64) -> String {
    if width_of(text) <= wide {
        return text.to_owned();
    }
    // One character is for the ellipsis; a negative width casts to none.
    let fit = ((wide / CHARACTER) as usize).saturating_sub(1);
    let kept: String = text.chars().take(fit).collect();
    format!("{}…", kept.trim_end())
}

/// Steps of an axis: about `most` of them, each 1, 2 or 5 times a power of ten.
pub(super) fn nice_step(span: f64, most: f64) -> f64 {
    let rough = (span / most).max(1e-3);
    let power = 10_f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= rough * 0.999);
    nice.unwrap_or(10.0) * power
}

/// Milliseconds as people say them.
pub(super) fn spoken(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.2} s", ms as f64 / 1_000.0),
        _ => format!("{:.1} s", ms as f64 / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_become_markup() {
        assert_eq!(escape("<b a=\"1\" c='2'>&\u{1}"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\u{fffd}");
        let mut svg = Svg::new(1.0, 1.0);
        svg.text("t", (0.0, 0.0), "</text><script>");
        svg.rect("t", (0.0, 0.0, 1.0, 1.0), "</title>");
        let picture = svg.finish("\"");
        assert!(!picture.contains("<script>") && picture.contains("&lt;/title&gt;"), "{picture}");
    }

    #[test]
    fn a_text_is_cut_only_where_it_is_too_wide() {
        let text = "cut the power of node 3";
        assert_eq!(shortened(text, width_of(text)), text);
        assert_eq!(shortened(text, width_of("cut the p")), "cut the…");
        assert_eq!(shortened(text, -20.0), "…");
    }

    #[test]
    fn steps_of_axes_are_round() {
        assert_eq!([46.0, 100.0, 3.1, 0.9].map(|span| nice_step(span, 10.0)), [5.0, 10.0, 0.5, 0.1]);
    }
}
