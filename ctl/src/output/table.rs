//! Columns that line up. Widths are counted in characters before colours are put on.

use super::{Page, Tone};

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text in a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.to_string(),
            tone: Tone::Plain,
        }
    }
}

#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    notes: Vec<Cell>,
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    indent: usize,
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty table, so many characters from the left.
    pub fn new(indent: usize, columns: &[(&'static str, Align)]) -> Self {
        Self {
            indent,
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(Row {
            cells: cells.into_iter().collect(),
            notes: Vec::new(),
        });
    }

    /// Adds a line of its own below the last row.
    pub fn note(&mut self, note: Cell) {
        if let Some(row) = self.rows.last_mut() {
            row.notes.push(note);
        }
    }

    /// Prints the headings and the rows; nothing when there are no rows.
    pub fn print(&self, page: &mut Page) {
        if self.rows.is_empty() {
            return;
        }
        let headings: Vec<Cell> = self
            .columns
            .iter()
            .map(|(title, _)| Cell::toned(*title, Tone::Strong))
            .collect();
        self.print_cells(page, &headings, &self.widths());
        self.print_rows(page);
    }

    /// Prints the rows without headings.
    pub fn print_rows(&self, page: &mut Page) {
        let widths = self.widths();
        for row in &self.rows {
            self.print_cells(page, &row.cells, &widths);
            for note in &row.notes {
                let text = page.paint(&note.text, note.tone);
                page.line(format!("{:indent$}{text}", "", indent = self.indent + 4));
            }
        }
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(column, (title, _)): (usize, &(&'static str, Align))| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
            let longest = cells
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0);
            longest.max(title.chars().count())
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    fn print_cells(&self, page: &mut Page, cells: &[Cell], widths: &[usize]) {
        let mut line = " ".repeat(self.indent);
        let mut owed = 0;
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let padding = width.saturating_sub(cell.text.chars().count());
            let (before, after) = match align {
                Align::Left => (0, padding),
                Align::Right => (padding, 0),
            };
            // Padding is owed until text follows, so no line ends in blanks.
            if cell.text.is_empty() {
                owed += before + after + 2;
                continue;
            }
            line += &" ".repeat(owed + before);
            line += &page.paint(&cell.text, cell.tone);
            owed = after + 2;
        }
        page.line(line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::page_of;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_blanks() {
        let mut table = Table::new(
            2,
            &[
                ("NAME", Align::Left),
                ("N", Align::Right),
                ("X", Align::Left),
            ],
        );
        table.row(["a".into(), 1.into(), "".into()]);
        table.note("why".into());
        table.row(["longer".into(), 1000.into(), "yes".into()]);
        let text = page_of(|page| table.print(page));
        assert_eq!(
            text,
            "  NAME       N  X\n  a          1\n      why\n  longer  1000  yes\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new(0, &[("STATE", Align::Left), ("N", Align::Right)]);
        table.row([Cell::toned("up", Tone::Good), 1.into()]);
        let mut page = Page::new(true);
        table.print(&mut page);
        let text = String::from_utf8(page.into_bytes()).unwrap();
        assert!(text.ends_with("\x1b[32mup\x1b[0m     1\n"), "{text:?}");
    }
}
