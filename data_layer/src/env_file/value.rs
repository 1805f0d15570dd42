//! Values of a `.env` file: where one ends, what it means, and how a new one is written.

/// Byte lengths of (the value as written, what follows it on its line, line ending included). `None` when a quote is not
/// closed or something other than a comment follows the closing quote: such a line is kept untouched.
pub fn split(text: &str) -> Option<(usize, usize)> {
    let value = match text.chars().next() {
        Some(quote @ ('\'' | '"')) => quoted_length(text, quote)?,
        _ => bare_length(text),
    };
    let rest = &text[value..];
    let line = rest.find('\n').map_or(rest.len(), |i| i + 1);
    let tail = rest[..line].trim_end_matches(['\r', '\n']);
    let comment = tail.trim_start_matches([' ', '\t']);
    (comment.is_empty() || (comment.starts_with('#') && comment.len() < tail.len())).then_some((value, line))
}

fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn bare_length(text: &str) -> usize {
    let line = text.find('\n').unwrap_or(text.len());
    let line = text[..line].trim_end_matches('\r');
    let mut end = line.len();
    let mut previous = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && (previous == ' ' || previous == '\t') {
            end = at;
            break;
        }
        previous = c;
    }
    line[..end].trim_end_matches([' ', '\t']).len()
}

/// What a value as written means. `lookup` gives the text of `$NAME` and `${NAME}`.
pub fn interpret(raw: &str, lookup: &dyn Fn(&str) -> String) -> String {
    if let Some(inner) = raw.strip_prefix('\'').and_then(|r| r.strip_suffix('\'')) {
        return inner.to_string();
    }
    let inner = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw);
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, &mut out),
            '$' => rest = substitute(rest, lookup, &mut out),
            other => out.push(other),
        }
    }
    out
}

fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match c {
        'n' => out.push('\n'),
        'r' => out.push('\r'),
        't' => out.push('\t'),
        '\\' | '"' | '\'' | '$' | ' ' | '#' => out.push(c),
        other => {
            out.push('\\');
            out.push(other);
        }
    }
    &rest[c.len_utf8()..]
}

fn substitute<'a>(rest: &'a str, lookup: &dyn Fn(&str) -> String, out: &mut String) -> &'a str {
    if let Some((name, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
        out.push_str(&lookup(name));
        return after;
    }
    let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if length == 0 {
        out.push('$');
        return rest;
    }
    out.push_str(&lookup(&rest[..length]));
    &rest[length..]
}

/// Write a value so that [`interpret`] gives it back: bare where that is safe, else in quotes.
pub fn quote(value: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:@+,%=".contains(c);
    if value.chars().all(safe) {
        return value.to_string();
    }
    if !value.contains(['\'', '\n', '\r']) {
        return format!("'{value}'");
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '"' | '\\' | '$' => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
