//! What a person watches: a dashboard that redraws on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use crate::protocol::Connection;

/// A phone as the dashboard shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhoneStatus {
    /// Who holds it.
    pub name: String,
    /// Role in the branch.
    pub role: String,
    /// How it stands with the relay.
    pub connection: Connection,
    /// Its process is not running.
    pub dead: bool,
    /// It is not in the branch any more.
    pub removed: bool,
    /// Items that the relay has not acknowledged.
    pub pending: u64,
    /// Items held.
    pub items: u64,
    /// Documents of which this copy equals that of most phones.
    pub equal: usize,
    /// Documents this phone may read.
    pub documents: usize,
}

/// Phones that get a row: a dashboard that is taller than the terminal cannot be drawn over.
const ROWS_MAX: usize = 20;

/// Draws on one output.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    redraws: bool,
    /// The dashboard that stands at the bottom of the terminal, and its lines.
    panel: String,
    drawn: usize,
    last_line: String,
}

impl Screen<io::Stdout> {
    /// On stdout: a dashboard if that is a terminal.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(io::stdout(), io::stdout().is_terminal())
    }
}

impl<W: Write> Screen<W> {
    /// On any output; `redraws` says whether it understands ANSI.
    pub fn new(out: W, redraws: bool) -> Self {
        Self { out, redraws, panel: String::new(), drawn: 0, last_line: String::new() }
    }

    /// Whether it draws over itself.
    pub fn redraws(&self) -> bool {
        self.redraws
    }

    /// A line that stays, above the dashboard. Errors of the output are ignored: nobody watches then.
    pub fn say(&mut self, line: &str) {
        let mut text = String::new();
        let drawn = self.drawn;
        self.erase(&mut text);
        let _ = write!(text, "{line}\n{}", self.panel);
        self.drawn = drawn;
        self.print(&text);
    }

    /// The state of all phones. Without a terminal one line is printed, and only when it differs from the last.
    pub fn show(&mut self, phones: &[PhoneStatus]) {
        if !self.redraws {
            let line = summary(phones);
            if line != self.last_line {
                self.print(&format!("{line}\n"));
                self.last_line = line;
            }
            return;
        }
        let mut text = String::new();
        self.erase(&mut text);
        self.panel.clear();
        for phone in phones.iter().take(ROWS_MAX) {
            let _ = writeln!(self.panel, "{}", row(phone));
        }
        let mut last = summary(phones);
        if phones.len() > ROWS_MAX {
            let _ = write!(last, " ({} not shown)", phones.len() - ROWS_MAX);
        }
        let _ = writeln!(self.panel, "{last}");
        self.drawn = phones.len().min(ROWS_MAX) + 1;
        text.push_str(&self.panel);
        self.print(&text);
    }

    /// Leaves the dashboard as it stands and goes on below it.
    pub fn finish(&mut self) {
        self.panel.clear();
        self.drawn = 0;
    }

    fn erase(&mut self, text: &mut String) {
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

/// Pads or cuts to this many columns of a terminal.
#[must_use]
pub fn fit(text: &str, columns: usize) -> String {
    let mut fitted = String::new();
    let mut used = 0;
    for character in text.chars() {
        let width = width(character);
        if used + width > columns {
            break;
        }
        used += width;
        fitted.push(character);
    }
    fitted.extend(std::iter::repeat_n(' ', columns - used));
    fitted
}

/// Columns of a text.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Columns of a character of Vietnamese and its neighbours: combining marks, also those without a precomposed form
/// (Ê-đê `ơ̆`), take none. Wide scripts do not occur in the meeting.
fn width(character: char) -> usize {
    usize::from(
        !matches!(character, '\u{0300}'..='\u{036f}' | '\u{200b}'..='\u{200d}' | '\u{1ab0}'..='\u{1aff}'),
    )
}

fn row(phone: &PhoneStatus) -> String {
    let (colour, mark) = if phone.dead {
        ("31", "✖ dead   ")
    } else if phone.removed {
        ("35", "⊘ removed")
    } else {
        match phone.connection {
            Connection::Offline => ("33", "○ offline"),
            Connection::Connecting => ("33", "◌ dialing"),
            Connection::CatchingUp => ("36", "↻ catchup"),
            Connection::Live => ("32", "● online "),
        }
    };
    let done = if phone.equal == phone.documents { "✓" } else { "…" };
    format!(
        "\x1b[{colour}m{mark}\x1b[0m {} {} {:>4} pending {:>5} items  {done} {}/{} documents",
        fit(&phone.name, 20),
        fit(&phone.role, 16),
        phone.pending,
        phone.items,
        phone.equal,
        phone.documents,
    )
}

fn summary(phones: &[PhoneStatus]) -> String {
    let removed = phones.iter().filter(|phone| phone.removed).count();
    let phones: Vec<&PhoneStatus> = phones.iter().filter(|phone| !phone.removed).collect();
    let live = |phone: &&&PhoneStatus| !phone.dead && phone.connection == Connection::Live;
    let online = phones.iter().filter(live).count();
    let dead = phones.iter().filter(|phone| phone.dead).count();
    let pending: u64 = phones.iter().map(|phone| phone.pending).sum();
    let equal = phones.iter().filter(|phone| phone.equal == phone.documents).count();
    let removed = if removed > 0 { format!(", removed {removed}") } else { String::new() };
    format!(
        "   online {online}/{}, dead {dead}{removed}, pending {pending}, equal copies on {equal} phones",
        phones.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone() -> PhoneStatus {
        PhoneStatus {
            name: "Hoàng Thị Nguyệt".into(),
            role: "member".into(),
            documents: 7,
            ..PhoneStatus::default()
        }
    }

    fn drawn(redraws: bool, draw: impl Fn(&mut Screen<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        draw(&mut Screen::new(&mut out, redraws));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn vietnamese_is_measured_in_columns() {
        assert_eq!(columns("Nguyễn"), 6);
        assert_eq!(columns("Nguye\u{0302}\u{0303}n"), 6, "decomposed");
        assert_eq!(columns("ơ\u{0306}"), 1);
        assert_eq!(fit("Đặng Hữu Toàn", 6), "Đặng H");
        assert_eq!(fit("Mai", 5), "Mai  ");
        assert_eq!(fit("ye\u{0302}u", 2), "ye\u{0302}", "a mark stays with its letter");
    }

    #[test]
    fn logs_get_plain_lines_and_no_repetition() {
        let log = drawn(false, |screen| {
            screen.say("19:50 — mất Wi-Fi");
            screen.show(&[phone()]);
            screen.show(&[phone()]);
        });
        assert!(!log.contains('\x1b'));
        assert_eq!(log.lines().count(), 2);
    }

    #[test]
    fn a_terminal_redraws_over_the_dashboard_and_keeps_what_was_said() {
        let screen = drawn(true, |screen| {
            screen.show(&[phone(), phone()]);
            screen.say("line");
            screen.show(&[phone(), phone()]);
        });
        assert_eq!(
            screen.matches("\x1b[3A\x1b[J").count(),
            2,
            "two phones and the summary are erased each time"
        );
        let (_, after) = screen.split_once("line\n").unwrap();
        assert_eq!(after.matches("0/2").count(), 2, "what is said does not take the dashboard away");
        assert!(screen.contains("○ offline"));
    }

    #[test]
    fn the_dashboard_fits_an_ordinary_terminal() {
        let phones = vec![phone(); 40];
        let screen = drawn(true, |screen| screen.show(&phones));
        assert_eq!(screen.lines().count(), ROWS_MAX + 1);
        assert!(screen.contains("(20 not shown)"));
    }
}
