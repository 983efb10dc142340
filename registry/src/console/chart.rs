//! Charts as SVG: bars with the exact values of each on hover, in the page's own colours.
//!
//! What is drawn carries the colours below as attributes; `chart.css` gives each its colour of the theme.

use askama::filters::{Html, escape};
use jiff::tz::TimeZone;
use pictor_look::text;
use pictor_protocol::{Earnings, Micros, UnixMillis};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

const WIDTH: u32 = 520;
const HEIGHT: u32 = 220;
const EARNINGS: RGBColor = RGBColor(0x4f, 0x46, 0xe5);
const COMPLETED: RGBColor = RGBColor(0x0e, 0x9f, 0x6e);
const FAILED: RGBColor = RGBColor(0xdc, 0x26, 0x26);
const LINE: RGBColor = RGBColor(0xd9, 0xdd, 0xe5);
const TEXT: RGBColor = RGBColor(0x54, 0x5c, 0x6b);
const FONT: &str = "system-ui, sans-serif";
const FONT_SIZE: i32 = 16;
/// More labels than this would touch each other.
const LABELS_MAX: usize = 6;

/// One bar: its parts from the bottom up.
struct Bar {
    label: String,
    /// What hovering says.
    exact: String,
    parts: Vec<(f64, RGBColor)>,
}

/// One line of the table beside the charts.
pub(super) struct ChartRow {
    pub(super) when: String,
    pub(super) earnings: String,
    pub(super) completed: i64,
    pub(super) failed: i64,
}

/// The charts of earnings and tasks over a range, and the same figures for who cannot see them.
/// Shown by `console/charts.html`.
pub(super) struct Charts {
    pub(super) earnings_svg: String,
    pub(super) tasks_svg: String,
    pub(super) rows: Vec<ChartRow>,
    /// Sums over the range.
    pub(super) earned: String,
    pub(super) completed: String,
    pub(super) failed: String,
}

impl Charts {
    pub(super) fn of(figures: &Earnings, zone: &TimeZone) -> Result<Charts> {
        let names = Names::of(figures, zone);
        let currency = &figures.currency;
        let (mut earnings, mut tasks, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for point in &figures.series {
            let (label, when) = (names.label(point.at), names.exact(point.at));
            let earned = format!("{} {currency}", point.earnings_micros);
            earnings.push(Bar {
                label: label.clone(),
                exact: format!("{when}: {earned}"),
                parts: vec![(point.earnings_micros.units(), EARNINGS)],
            });
            tasks.push(Bar {
                label,
                exact: format!("{when}: {} completed, {} failed", point.completed, point.failed),
                parts: vec![(height(point.completed), COMPLETED), (height(point.failed), FAILED)],
            });
            rows.push(ChartRow { when, earnings: earned, completed: point.completed, failed: point.failed });
        }
        let earned: Micros = figures.series.iter().map(|point| point.earnings_micros).sum();
        let completed: i64 = figures.series.iter().map(|point| point.completed).sum();
        let failed: i64 = figures.series.iter().map(|point| point.failed).sum();
        let money_axis = |value: f64, top: f64| match top {
            100.0.. => format!("{value:.0}"),
            1.0.. => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        };
        // Whole tasks only.
        let task_axis = |value: f64, _: f64| {
            if value.fract() == 0.0 { format!("{value:.0}") } else { String::new() }
        };
        let (earned, counted) =
            (text::money(&earned, currency), text::count(completed, "task completed", "tasks completed"));
        let told = format!("Bar chart of earnings in {currency}: {earned} in all");
        let tasks_told = format!("Bar chart of tasks: {counted}, {failed} failed");
        Ok(Charts {
            earnings_svg: draw(&told, &earnings, money_axis)?,
            tasks_svg: draw(&tasks_told, &tasks, task_axis)?,
            rows,
            earned,
            completed: text::thousands(completed),
            failed: text::thousands(failed),
        })
    }
}

#[allow(clippy::cast_precision_loss)]
fn height(count: i64) -> f64 {
    count as f64
}

/// How the buckets of a series are named, by their width.
struct Names<'a> {
    label: &'static str,
    exact: &'static str,
    zone: &'a TimeZone,
}

impl<'a> Names<'a> {
    fn of(figures: &Earnings, zone: &'a TimeZone) -> Names<'a> {
        let width_seconds = match figures.series.as_slice() {
            [first, second, ..] => second.at.seconds_since(first.at),
            _ => 86_400.0,
        };
        let (label, exact) = match width_seconds {
            ..=7_200.0 => ("%H:%M", "%-d %b %Y %H:%M"),
            ..=100_000.0 => ("%-d %b", "%a %-d %b %Y"),
            _ => ("%b %Y", "%B %Y"),
        };
        Names { label, exact, zone }
    }

    fn label(&self, at: UnixMillis) -> String {
        text::zoned(at, self.zone).strftime(self.label).to_string()
    }

    fn exact(&self, at: UnixMillis) -> String {
        text::zoned(at, self.zone).strftime(self.exact).to_string()
    }
}

/// `told` is what a screen reader says instead.
fn draw(told: &str, bars: &[Bar], axis: impl Fn(f64, f64) -> String) -> Result<String> {
    let mut svg = String::new();
    let plot = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let plot = plot(&root, bars, axis).map_err(failed)?;
        root.present().map_err(failed)?;
        plot
    };
    // The drawing's own element gives way to one that scales and says what it shows.
    let inner = svg.split_once('>').map_or("", |(_, rest)| rest);
    let inner = inner.trim_end().strip_suffix("</svg>").unwrap_or(inner);
    let mut hits = String::new();
    let width = f64::from(plot.0.end - plot.0.start) / height(i64::try_from(bars.len().max(1)).unwrap_or(1));
    let mut left = f64::from(plot.0.start);
    for bar in bars {
        hits.push_str(&format!(
            "<rect class=\"hit\" x=\"{left:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\"><title>{}</title></rect>",
            plot.1.start,
            plot.1.end - plot.1.start,
            escaped(&bar.exact)?,
        ));
        left += width;
    }
    Ok(format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{inner}{hits}</svg>",
        escaped(told)?
    ))
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::Internal(anyhow::anyhow!("a chart could not be drawn: {cause}"))
}

fn escaped(text: &str) -> Result<String> {
    Ok(escape(text, Html).map_err(failed)?.to_string())
}

/// The pixels across and down which the bars stand.
type Pixels = (std::ops::Range<i32>, std::ops::Range<i32>);

fn plot<B: DrawingBackend>(
    root: &DrawingArea<B, plotters::coord::Shift>,
    bars: &[Bar],
    axis: impl Fn(f64, f64) -> String,
) -> std::result::Result<Pixels, DrawingAreaErrorKind<B::ErrorType>> {
    let highest =
        bars.iter().map(|bar| bar.parts.iter().map(|(part, _)| part).sum::<f64>()).fold(0.0, f64::max);
    let top = if highest > 0.0 { highest * 1.08 } else { 1.0 };
    let across = height(i64::try_from(bars.len().max(1)).unwrap_or(1));
    let style = || (FONT, FONT_SIZE).into_font().color(&TEXT);
    let mut chart = ChartBuilder::on(root)
        .margin_top(8)
        .margin_right(4)
        .y_label_area_size(54)
        .x_label_area_size(26)
        .build_cartesian_2d(0.0..across, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(4)
        .y_max_light_lines(0)
        .bold_line_style(LINE)
        .axis_style(LINE)
        .y_label_style(style())
        .y_label_formatter(&|value| axis(*value, top))
        .draw()?;
    for (place, bar) in bars.iter().enumerate() {
        let (mut from, at) = (0.0, height(i64::try_from(place).unwrap_or(0)));
        for (part, colour) in &bar.parts {
            if *part > 0.0 {
                let corners = [(at + 0.14, from), (at + 0.86, from + part)];
                chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            }
            from += part;
        }
    }
    let pixels = chart.plotting_area().get_pixel_range();
    let every = bars.len().div_ceil(LABELS_MAX).max(1);
    let label_style = style().pos(Pos::new(HPos::Center, VPos::Top));
    for (place, bar) in bars.iter().enumerate().skip(every / 2).step_by(every) {
        let (x, _) = chart.backend_coord(&(height(i64::try_from(place).unwrap_or(0)) + 0.5, 0.0));
        root.draw(&Text::new(bar.label.clone(), (x, pixels.1.end + 6), &label_style))?;
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use pictor_protocol::{Earnings, Micros, SeriesPoint, TaskCounts, UnixMillis};

    use super::Charts;

    fn figures(series: Vec<SeriesPoint>) -> Earnings {
        Earnings {
            currency: "E<R".to_owned(),
            earnings_micros: Micros::ZERO,
            pending_micros: Micros::ZERO,
            balance_micros: Micros::ZERO,
            paid_out_micros: Micros::ZERO,
            points: 0,
            electricity: None,
            tasks: TaskCounts::default(),
            series,
            groups: None,
        }
    }

    #[test]
    fn each_bar_says_its_exact_values_and_nothing_is_markup() {
        let point = |hour: i64, micros| SeriesPoint {
            at: UnixMillis(hour * 3_600_000),
            earnings_micros: Micros(micros),
            completed: 2,
            failed: 1,
        };
        let charts = Charts::of(&figures(vec![point(0, 1_234_567), point(1, 0)]), &TimeZone::UTC).unwrap();
        assert!(
            charts.earnings_svg.contains("<title>1 Jan 1970 00:00: 1.234567 E&#60;R</title>"),
            "{}",
            charts.earnings_svg
        );
        assert!(charts.tasks_svg.contains("2 completed, 1 failed</title>"));
        assert_eq!(charts.tasks_svg.matches("<title>").count(), 2);
        assert!(!charts.earnings_svg.contains("style="), "a page's policy refuses styles in it");
        assert_eq!((charts.completed.as_str(), charts.failed.as_str()), ("4", "2"));
    }

    #[test]
    fn nothing_yet_is_drawn_too() {
        let charts = Charts::of(&figures(Vec::new()), &TimeZone::UTC).unwrap();
        assert!(charts.earnings_svg.ends_with("</svg>") && charts.rows.is_empty());
    }
}
