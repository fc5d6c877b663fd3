//! Templates and what they make.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};

use super::Form;

/// What a template makes, which says how what people wrote is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// Web pages: nothing that people wrote becomes a tag.
    Html,
    /// Markdown: nothing that people wrote becomes markup or a cell of a table.
    Markdown,
    /// Plain text, as it is.
    Plain,
}

/// The templates that come with the library, by name. A template of an app may extend them (`{% extends "frame.html" %}`), and one that is
/// given under the same name stands in their place.
pub const TEMPLATES: [(&str, &str); 22] = [
    ("frame.html", include_str!("../../../templates/frame.html")),
    ("frame.md", include_str!("../../../templates/frame.md")),
    ("parts.html", include_str!("../../../templates/parts.html")),
    ("parts.md", include_str!("../../../templates/parts.md")),
    ("minutes.html", include_str!("../../../templates/minutes.html")),
    ("minutes.md", include_str!("../../../templates/minutes.md")),
    ("resolution.html", include_str!("../../../templates/resolution.html")),
    ("resolution.md", include_str!("../../../templates/resolution.md")),
    ("attendance.html", include_str!("../../../templates/attendance.html")),
    ("attendance.md", include_str!("../../../templates/attendance.md")),
    ("feedback.html", include_str!("../../../templates/feedback.html")),
    ("feedback.md", include_str!("../../../templates/feedback.md")),
    ("tasks.html", include_str!("../../../templates/tasks.html")),
    ("tasks.md", include_str!("../../../templates/tasks.md")),
    ("review.html", include_str!("../../../templates/review.html")),
    ("review.md", include_str!("../../../templates/review.md")),
    ("notice.html", include_str!("../../../templates/notice.html")),
    ("notice.md", include_str!("../../../templates/notice.md")),
    ("assignments.html", include_str!("../../../templates/assignments.html")),
    ("assignments.md", include_str!("../../../templates/assignments.md")),
    ("other.html", include_str!("../../../templates/other.html")),
    ("other.md", include_str!("../../../templates/other.md")),
];

/// Steps that a template may take: a document of thousands of blocks takes a hundredth of it, and a loop without end is no hang.
const FUEL: u64 = 20_000_000;

const MARKDOWN: &str = "markdown";

/// Lays a document out as the library's own template for its kind does.
///
/// # Errors
/// If it is too long for a template.
pub fn render(markup: Markup, form: &Form) -> Result<String, minijinja::Error> {
    let extension = if markup == Markup::Html { "html" } else { "md" };
    let name = format!("{}.{extension}", form.kind);
    let known = TEMPLATES.iter().any(|(known, _)| *known == name);
    let name = if known { name } else { format!("other.{extension}") };
    render_from(&[], &name, markup, form)
}

/// Lays a document out by a template (minijinja's language) among `own`, which come before the library's; all by name and source.
///
/// # Errors
/// What is wrong with a template, with its line.
pub fn render_from(
    own: &[(&str, &str)],
    name: &str,
    markup: Markup,
    form: &Form,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(move |_| match markup {
        Markup::Html => AutoEscape::Html,
        Markup::Markdown => AutoEscape::Custom(MARKDOWN.into()),
        Markup::Plain => AutoEscape::None,
    });
    environment.set_formatter(|out, state, value| {
        let text = value.as_str().filter(|_| !value.is_safe());
        match (state.auto_escape(), text) {
            (AutoEscape::Custom(_), Some(text)) => Ok(out.write_str(&escape_markdown(text))?),
            (AutoEscape::Custom(_), None) => Ok(write!(out, "{value}")?),
            // Minijinja's own writes every slash as an entity, and dates and amounts are full of them.
            (AutoEscape::Html, Some(text)) => Ok(out.write_str(&escape_html(text))?),
            _ => minijinja::escape_formatter(out, state, value),
        }
    });
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, source) in TEMPLATES.iter().chain(own) {
        environment.add_template(name, source)?;
    }
    environment.get_template(name)?.render(context! { form => Value::from(Serde(form)) })
}

/// Text that HTML shows as it is, between tags and in quoted attributes.
fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

/// Text that Markdown shows as it is: by backslashes before ASCII punctuation (CommonMark 0.31, section 2.4). Lines stay in their paragraph.
fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // What begins a list, a heading or code if it begins a line.
    let start = text.trim_start();
    let number = start.bytes().take_while(u8::is_ascii_digit).count();
    for (at, letter) in start.char_indices() {
        match letter {
            '\n' | '\r' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' => {
                out.extend(['\\', letter]);
            }
            '-' | '+' | '=' if at == 0 => out.extend(['\\', letter]),
            '.' | ')' if number > 0 && at == number => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape_markdown;

    #[test]
    fn what_begins_a_line_begins_no_list() {
        for (text, escaped) in [
            ("1. Một", "1\\. Một"),
            ("12) Hai", "12\\) Hai"),
            ("- ba", "\\- ba"),
            ("==", "\\=="),
            ("    bốn", "bốn"),
            ("a - b. 2.", "a - b. 2."),
            ("x\n# y", "x \\# y"),
        ] {
            assert_eq!(escape_markdown(text), escaped);
        }
    }
}
