//! A table of texts and figures, for a terminal or a page of Markdown.

use std::io::{self, Write};

use super::figure;

/// Columns with heads of two lines, and rows.
pub(crate) struct Grid {
    heads: Vec<[String; 2]>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    /// Digits stand below each other; words begin below each other.
    right: bool,
}

impl Cell {
    /// Words.
    pub(crate) fn text(words: &str) -> Self {
        Self { text: words.to_owned(), right: false }
    }

    /// A number that is to stand as it is, or a dash.
    pub(crate) fn number(number: Option<String>) -> Self {
        Self { text: number.unwrap_or_else(|| "-".to_owned()), right: true }
    }

    /// A figure with so many digits behind the point, thousands apart, or a dash.
    pub(crate) fn figure(value: Option<f64>, digits: usize) -> Self {
        Self { text: figure(value, digits), right: true }
    }

    /// The same with a mark before it, unless it is a dash.
    pub(crate) fn marked(self, mark: &str) -> Self {
        if self.text == "-" { self } else { Self { text: format!("{mark}{}", self.text), ..self } }
    }
}

impl Grid {
    pub(crate) fn new(heads: Vec<[String; 2]>) -> Self {
        Self { heads, rows: Vec::new() }
    }

    /// Adds a row, which has a cell for every head.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// As a terminal shows it; with a bold head where that can be seen.
    pub(crate) fn table(&self, styled: bool, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths();
        for line in 0..2 {
            let heads = self.heads.iter().zip(&widths).enumerate();
            let head: String =
                heads.map(|(column, (head, &wide))| self.padded(column, &head[line], wide)).collect();
            let head = head.trim_end();
            if head.is_empty() {
                continue;
            }
            if styled { writeln!(out, "\x1b[1m{head}\x1b[0m")? } else { writeln!(out, "{head}")? }
        }
        writeln!(
            out,
            "  {}",
            "─".repeat(widths.iter().map(|wide| wide + 2).sum::<usize>().saturating_sub(2))
        )?;
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate();
            let line: String =
                cells.map(|(column, (cell, &wide))| self.padded(column, &cell.text, wide)).collect();
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// As an issue or a README has it.
    pub(crate) fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = |[first, second]: &[String; 2]| format!("{first} {second}").trim().to_owned();
        let heads: Vec<String> = self.heads.iter().map(head).collect();
        writeln!(out, "| {} |", heads.join(" | "))?;
        let rule = |column| if self.is_right(column) { "--:" } else { ":--" };
        let rules: Vec<&str> = (0..self.heads.len()).map(rule).collect();
        writeln!(out, "|{}|", rules.join("|"))?;
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(|cell| &*cell.text).collect();
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }

    fn padded(&self, column: usize, text: &str, wide: usize) -> String {
        let room = " ".repeat(wide.saturating_sub(text.chars().count()));
        if self.is_right(column) { format!("  {room}{text}") } else { format!("  {text}{room}") }
    }

    fn is_right(&self, column: usize) -> bool {
        self.rows.iter().filter_map(|row| row.get(column)).any(|cell| cell.right)
    }

    fn widths(&self) -> Vec<usize> {
        let wide = |column: usize| {
            let heads = self.heads[column].iter().map(|line| line.chars().count());
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
            heads.chain(cells).max().unwrap_or(0)
        };
        (0..self.heads.len()).map(wide).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid =
            Grid::new([["", "method"], ["dirty", "pages/s"]].map(|head| head.map(str::to_owned)).to_vec());
        grid.row(vec![Cell::text("raw"), Cell::figure(Some(1_234_567.0), 0)]);
        grid.row(vec![Cell::text("deflate"), Cell::figure(Some(12.0), 0).marked("~")]);
        grid.row(vec![Cell::text("zstd"), Cell::figure(None, 0).marked("~")]);
        grid
    }

    fn written(write: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_end_and_words_begin_below_each_other() {
        let text = written(|out| grid().table(false, out));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "               dirty");
        assert_eq!(lines[3..], ["  raw      1,234,567", "  deflate        ~12", "  zstd             -"]);
    }

    #[test]
    fn every_line_of_markdown_has_the_same_columns() {
        let text = written(|out| grid().markdown(out));
        assert_eq!(text.lines().map(|line| line.matches('|').count()).collect::<Vec<_>>(), [3; 5], "{text}");
        assert!(text.starts_with("| method | dirty pages/s |\n|:--|--:|\n| raw | 1,234,567 |"), "{text}");
    }
}
