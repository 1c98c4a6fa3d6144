//! The text of an HTML body, for readers and programs that want no HTML.

/// Elements whose content nobody reads.
const UNREAD: [&str; 4] = ["style", "script", "head", "title"];
/// Elements that begin a line of their own.
const LINES: [&str; 6] = ["br", "li", "tr", "div", "dt", "dd"];
/// Elements with an empty line around them.
const BLOCKS: [&str; 13] =
    ["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "section", "hr"];

/// The text of an HTML body: lines and paragraphs kept, links with their address, everything else gone.
///
/// For letters that people write, not for hostile input: what it makes of broken HTML is text, and harmless, but may
/// read oddly.
pub fn plain(html: &str) -> String {
    let mut out = Text::default();
    let mut rest = html;
    let mut link = None;
    while let Some((before, after)) = rest.split_once('<') {
        out.push(before);
        // A comment ends at its own mark; what is no tag, or opens and never ends, is text.
        let opens = after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
        let ended = match after.strip_prefix("!--") {
            Some(comment) => Some(("", comment.split_once("-->").map_or("", |(_, after)| after))),
            None => after.split_once('>').filter(|_| opens),
        };
        let Some((tag, after)) = ended else {
            out.push("<");
            rest = after;
            continue;
        };
        rest = after;
        let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
        let (closing, name) = match name.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, name.trim_end_matches('/')),
        };
        if UNREAD.contains(&name) && !closing {
            rest = after_closing(rest, name);
        } else if BLOCKS.contains(&name) {
            out.break_lines(2);
        } else if name == "li" && !closing {
            out.break_lines(1);
            out.push("- ");
        } else if LINES.contains(&name) {
            out.break_lines(1);
        } else if name == "a" {
            match (closing, link.take()) {
                (true, Some(address)) => out.push(&format!(" ({address})")),
                (false, _) => link = address(tag),
                _ => {}
            }
        }
    }
    out.push(rest);
    out.done.trim().to_owned()
}

/// What stands after the closing tag of an element.
fn after_closing<'a>(text: &'a str, name: &str) -> &'a str {
    // Bytes: lower case never changes where they are.
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.find(&format!("</{name}")) else { return "" };
    text[at..].split_once('>').map_or("", |(_, after)| after)
}

/// The `href` of a link, where it leads out.
fn address(tag: &str) -> Option<String> {
    let (_, value) = tag.split_once("href=")?;
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (address, _) = value[1..].split_once(quote)?;
    address.contains(':').then(|| unescape(address))
}

/// Text under way: runs of white space become one space, breaks wait until something follows them.
#[derive(Default)]
struct Text {
    done: String,
    breaks: usize,
    space: bool,
}

impl Text {
    fn push(&mut self, html: &str) {
        for c in unescape(html).chars() {
            if c.is_whitespace() && c != '\u{a0}' {
                self.space = true;
                continue;
            }
            if self.breaks > 0 {
                self.done.extend(std::iter::repeat_n('\n', self.breaks));
            } else if self.space && !self.done.is_empty() {
                self.done.push(' ');
            }
            (self.breaks, self.space) = (0, false);
            self.done.push(if c == '\u{a0}' { ' ' } else { c });
        }
    }

    fn break_lines(&mut self, lines: usize) {
        if !self.done.is_empty() {
            self.breaks = self.breaks.max(lines);
        }
        self.space = false;
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let found = after.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        let (c, after) = found.unwrap_or(('&', after));
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "copy" => '©',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| !c.is_control())?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn the_text_keeps_what_a_reader_needs() {
        for (html, text) in [
            ("<p>Tom &amp; <b>Jerry</b></p>", "Tom & Jerry"),
            ("<h1>News</h1>\n<p>One<br>two</p><p>three</p>", "News\n\nOne\ntwo\n\nthree"),
            ("<ul><li>leek</li><li>beet</li></ul>", "- leek\n- beet"),
            ("See <a class=x href=\"https://a.b/?q=1&amp;r\">this page</a>.", "See this page (https://a.b/?q=1&r)."),
            ("<style>p { color: red }</style><!-- no > --><p>yes</p>", "yes"),
            ("1 < 2 <i>and</i> &#8212; &#x263A; &bogus; &", "1 < 2 and — ☺ &bogus; &"),
            ("<SCRIPT>alert(1)</SCRIPT>ok<p", "ok<p"),
            ("", ""),
        ] {
            assert_eq!(plain(html), text, "{html}");
        }
    }
}
