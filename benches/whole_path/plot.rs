//! The plot: the ratio of each row that has a target, as one SVG with bars, spreads and targets.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{Row, Target, short};

/// Writes the plot; `caption` describes the run.
pub(crate) fn write(path: &Path, caption: &str, rows: &[Row]) -> Result<()> {
    fs::write(path, svg(caption, rows)?).with_context(|| format!("write {}", path.display()))
}

fn svg(caption: &str, rows: &[Row]) -> Result<String> {
    let bars: Vec<Bar<'_>> = rows.iter().filter_map(Bar::of).collect();
    let bottom = TOP + bars.len() as f64 * STEP;
    let height = bottom + 46.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Ratio to the yardstick, by \
         work</text>\n\
         <text x=\"12\" y=\"40\" fill=\"#555\">{}</text>\n",
        escaped(caption)
    );
    grid(&mut out, bottom)?;
    for (index, bar) in bars.iter().enumerate() {
        bar.draw(&mut out, TOP + index as f64 * STEP)?;
    }
    writeln!(
        out,
        "<text x=\"12\" y=\"{y}\" fill=\"#555\">Bar: median over median. Line: single rounds. \
         Black mark: target; the arrow points to where it is met.</text>\n</svg>",
        y = bottom + 38.0
    )?;
    Ok(out)
}

/// Vertical lines at powers of two, the one at 1 heavier.
fn grid(out: &mut String, bottom: f64) -> Result<()> {
    for (ratio, label) in [
        (0.0625, "1/16"),
        (0.125, "1/8"),
        (0.25, "1/4"),
        (0.5, "1/2"),
        (1.0, "1"),
        (2.0, "2"),
        (4.0, "4"),
    ] {
        let (x, width) = (across(ratio), if ratio == 1.0 { 1.5 } else { 0.5 });
        writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#999\" \
             stroke-width=\"{width}\"/>\n\
             <text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555\">{label}</text>",
            y = bottom + 16.0
        )?;
    }
    Ok(())
}

struct Bar<'a> {
    row: &'a Row,
    against: &'a str,
    target: Target,
    ratio: f64,
    spread: (f64, f64),
}

impl<'a> Bar<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        let against = row.yardstick.as_ref().map(|(name, _)| name.as_str())?;
        Some(Self { row, against, target: row.target?, ratio: row.ratio()?, spread: row.spread()? })
    }

    fn draw(&self, out: &mut String, y: f64) -> Result<()> {
        let colour = if self.row.met() == Some(true) { "#3a8f5c" } else { "#c0503c" };
        let Row { work, figure, subject, .. } = self.row;
        let (middle, one, end) = (y + STEP / 2.0, across(1.0), across(self.ratio));
        let names = format!("{} / {}", subject.0, self.against);
        writeln!(
            out,
            "<text x=\"12\" y=\"{:.1}\">{}</text>\n\
             <text x=\"12\" y=\"{:.1}\" fill=\"#777\" font-size=\"10\">{}</text>\n\
             <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\n\
             <line x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\" stroke=\"#222\"/>",
            middle - 2.0,
            escaped(&format!("{work}: {figure}")),
            middle + 10.0,
            escaped(&names),
            end.min(one),
            middle - 7.0,
            (end - one).abs(),
            across(self.spread.0),
            across(self.spread.1),
        )?;
        let (limit, sign, arrow) = match self.target {
            Target::AtMost(limit) => (limit, "≤", -7.0),
            Target::AtLeast(limit) => (limit, "≥", 7.0),
        };
        let (mark, back) = (across(limit), -arrow);
        writeln!(
            out,
            "<path d=\"M{mark:.1} {:.1}v22m0 -15l{arrow} 4l{back} 4z\" stroke=\"#000\" \
             stroke-width=\"1.5\"/>\n\
             <text x=\"{VALUES}\" y=\"{:.1}\" fill=\"{colour}\">{} ({sign} {})</text>",
            middle - 11.0,
            middle + 4.0,
            short(self.ratio),
            short(limit),
        )?;
        Ok(())
    }
}

/// The position of a ratio: logarithmic, cut at the ends.
fn across(ratio: f64) -> f64 {
    const LOWEST: f64 = -4.0;
    const HIGHEST: f64 = 2.0;
    let position = (ratio.log2().clamp(LOWEST, HIGHEST) - LOWEST) / (HIGHEST - LOWEST);
    LEFT + position * (RIGHT - LEFT)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 960.0;
/// The top of the first bar's row, and the height of each.
const TOP: f64 = 54.0;
const STEP: f64 = 30.0;
/// The axis.
const LEFT: f64 = 440.0;
const RIGHT: f64 = 840.0;
/// The position of the ratio's text.
const VALUES: f64 = 860.0;
