//! Lines over time, drawn here as SVG: the console has no script.

use std::fmt::Write;

use maud::{Markup, html};

/// The size of a drawing; it is scaled to its place as a whole.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 120.0;
/// Where the lines are: above and below them are labels.
const TOP: f64 = 18.0;
const BOTTOM: f64 = 102.0;
/// What the highest point stays below the upper edge.
const LEAST_RANGE: f64 = 1e-9;

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Milliseconds and the value; none where there was nothing to measure.
    pub(super) points: Vec<(u64, Option<f64>)>,
}

/// What a chart shows.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What stands beside the title: the value now.
    pub(super) now: String,
    /// At most two.
    pub(super) lines: &'a [Line],
    /// Whether the lower edge is zero; otherwise it is the least value.
    pub(super) from_zero: bool,
    /// How long ago the first point is.
    pub(super) began: String,
    pub(super) ends: &'a str,
}

impl Chart<'_> {
    /// `label` says a value with its unit.
    pub(super) fn draw(&self, label: impl Fn(f64) -> String) -> Markup {
        let values = || self.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let times = || self.lines.iter().flat_map(|line| &line.points).map(|(at, _)| *at);
        let most = values().fold(0.0, f64::max);
        let least = if self.from_zero { 0.0 } else { values().fold(most, f64::min) };
        let top = if self.from_zero { nice(most) } else { most };
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let x = |at: u64| 2.0 + (WIDTH - 4.0) * (at - first) as f64 / (last - first).max(1) as f64;
        let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value - least) / (top - least).max(LEAST_RANGE);
        let is_empty = values().next().is_none();
        let summary = format!("{}: {}", self.title, self.now);
        html! {
            figure.card.chart {
                figcaption {
                    span.title { (self.title) }
                    span.value { (self.now) }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(summary) {
                    @for height in [TOP, (TOP + BOTTOM) / 2.0, BOTTOM] {
                        line.grid x1="0" x2=(WIDTH) y1=(height) y2=(height) {}
                    }
                    @for (i, line) in self.lines.iter().enumerate() {
                        path class={ "line l" (i) } d=(path(&line.points, &x, &y)) {}
                    }
                    @if !is_empty {
                        text x="0" y=(TOP - 5.0) { (label(top)) }
                        @if !self.from_zero {
                            text.end x=(WIDTH) y=(BOTTOM - 4.0) { (label(least)) }
                        }
                    }
                    text x="0" y=(HEIGHT - 4.0) { (self.began) }
                    text.end x=(WIDTH) y=(HEIGHT - 4.0) { (self.ends) }
                }
                @if self.lines.len() > 1 {
                    div.legend {
                        @for (i, line) in self.lines.iter().enumerate() {
                            span class={ "key k" (i) } { (line.name) }
                        }
                    }
                }
            }
        }
    }
}

/// Points that follow one another are joined; one that stands alone is a dot, which the round end of its line of no length makes.
fn path(points: &[(u64, Option<f64>)], x: &impl Fn(u64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let mut out = String::new();
    let mut is_down = false;
    for (at, value) in points {
        match value {
            Some(value) => {
                let (x, y) = (x(*at), y(*value));
                let begin = if is_down { String::new() } else { format!("M{x:.1} {y:.1}") };
                write!(out, "{begin}L{x:.1} {y:.1}").expect("writing to a string does not fail");
                is_down = true;
            }
            None => is_down = false,
        }
    }
    out
}

/// A round number that is not less.
fn nice(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|n| n * power)
        .find(|n| *n >= most)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_gaps_and_lines_stay_inside() {
        let line =
            Line { name: "a", points: vec![(0, Some(1.0)), (10, Some(3.0)), (20, None), (30, Some(2.0))] };
        let (x, y) = (|at: u64| at as f64, |value: f64| value);
        assert_eq!(path(&line.points, &x, &y), "M0.0 1.0L0.0 1.0L10.0 3.0M30.0 2.0L30.0 2.0");
        for lines in [vec![line], Vec::new(), vec![Line { name: "b", points: vec![(5, Some(0.0))] }]] {
            let chart = Chart {
                title: "<T>",
                now: "1".into(),
                lines: &lines,
                from_zero: true,
                began: "x".into(),
                ends: "y",
            };
            let text = chart.draw(|n| n.to_string()).into_string();
            assert!(text.contains("&lt;T&gt;") && !text.contains("<T>"), "{text}");
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }

    #[test]
    fn the_upper_edge_is_a_round_number() {
        for (most, edge) in [(0.0, 1.0), (1.0, 1.0), (1.1, 1.5), (7.0, 8.0), (430.0, 500.0), (0.021, 0.025)] {
            assert!((nice(most) - edge).abs() < 1e-9, "{most}");
        }
    }
}
