//! Two macros that mark what people read. The English stays where it is used; `data_layer::words` says it in other languages,
//! and a test collects every marked text into `templates/text/en.yml`.
//!
//! `text!` is `format!`, and remembers the template beside the result while another language than English is spoken. `term!`
//! is the word itself, unchanged: a mark for constants and single words.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// `format!` for sentences that people read. The template is a plain literal; `{}`, `{name}`, `{0}` and their formats work as
/// there, except for `{:.*}`.
#[proc_macro]
pub fn text(input: TokenStream) -> TokenStream {
    expanded(input).unwrap_or_else(|why| code(&format!("compile_error!({why:?})")))
}

/// The word itself.
#[proc_macro]
pub fn term(input: TokenStream) -> TokenStream {
    input
}

/// One `{...}` of a template, as it is written.
struct Hole {
    /// `0`, `name`, or nothing for the next position.
    name: String,
    /// `:>9.2`, or nothing.
    format: String,
}

fn expanded(input: TokenStream) -> Result<TokenStream, String> {
    let tokens: Vec<TokenTree> = input.clone().into_iter().collect();
    let Some(TokenTree::Literal(template)) = tokens.first() else { return Err("text! begins with a literal".into()) };
    let template = template.to_string();
    let inside = template.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or("text! takes a plain string literal")?;
    let (unnamed, named) = arguments(&tokens[1..]);
    let mut next = 0;
    let mut parts = TokenStream::new();
    for hole in holes(inside)? {
        let position = if hole.name.is_empty() { Some(next) } else { hole.name.parse::<usize>().ok() };
        next += usize::from(hole.name.is_empty());
        let name = position.map_or(hole.name.clone(), |p| p.to_string());
        let mut shown = match position {
            Some(p) => code(&format!("\"{{{}}}\", part{p}", hole.format)),
            None => code(&format!("\"{{{name}{}}}\"", hole.format)),
        };
        if let Some((_, value)) = named.iter().find(|(n, _)| *n == name) {
            shown.extend(code(&format!(", {name} =")));
            shown.extend(value.clone());
        }
        let mut pair = code(&format!("\"{name}\", ::std::format!"));
        pair.extend([group(Delimiter::Parenthesis, shown)]);
        parts.extend([group(Delimiter::Parenthesis, pair)]);
        parts.extend(code(","));
    }
    let mut call = code(&format!("{template}, &"));
    call.extend([group(Delimiter::Bracket, parts)]);
    let names: String = (0..unnamed.len()).map(|i| format!("part{i},")).collect();
    let mut arm = code(&format!("({names}) => ::data_layer::words::made"));
    arm.extend([group(Delimiter::Parenthesis, call)]);
    let mut values = TokenStream::new();
    for value in unnamed {
        values.extend(code("&"));
        values.extend([group(Delimiter::Parenthesis, value)]);
        values.extend(code(","));
    }
    let mut remembered = code("match");
    remembered.extend([group(Delimiter::Parenthesis, values), group(Delimiter::Brace, arm)]);
    let mut plain = code("::std::format!");
    plain.extend([group(Delimiter::Parenthesis, input)]);
    let mut out = code("if ::data_layer::words::remembering()");
    out.extend([group(Delimiter::Brace, remembered)]);
    out.extend(code("else"));
    out.extend([group(Delimiter::Brace, plain)]);
    Ok(TokenStream::from(group(Delimiter::Brace, out)))
}

/// The holes of a template's source; escapes such as `\u{1b}` are none.
fn holes(source: &str) -> Result<Vec<Hole>, String> {
    let mut out = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['{', '}', '\\']) {
        let after = &rest[at..];
        if after.starts_with("\\u{") {
            rest = after.find('}').map_or("", |end| &after[end + 1..]);
        } else if after.starts_with('\\') || after.starts_with("{{") || after.starts_with("}}") {
            rest = after.get(2..).unwrap_or("");
        } else {
            let end = after.find('}').ok_or("a hole is not closed")?;
            let (name, format) = after[1..end].split_at(after[1..end].find(':').unwrap_or(end - 1));
            out.push(Hole { name: name.trim().to_string(), format: format.to_string() });
            rest = &after[end + 1..];
        }
    }
    Ok(out)
}

/// What follows the template: values in order, and values with names.
fn arguments(tokens: &[TokenTree]) -> (Vec<TokenStream>, Vec<(String, TokenStream)>) {
    let (mut unnamed, mut named) = (Vec::new(), Vec::new());
    for one in tokens.split(between_arguments()).filter(|one| !one.is_empty()) {
        match one {
            [TokenTree::Ident(name), TokenTree::Punct(equals), value @ ..]
                if equals.as_char() == '=' && !matches!(value.first(), Some(TokenTree::Punct(p)) if p.as_char() == '=') =>
            {
                named.push((name.to_string(), value.iter().cloned().collect()));
            }
            value => unnamed.push(value.iter().cloned().collect()),
        }
    }
    (unnamed, named)
}

/// Whether a token is a comma between arguments, and not one of `::<A, B>`. Tokens are shown to it in order.
fn between_arguments() -> impl FnMut(&TokenTree) -> bool {
    let (mut depth, mut colons) = (0_usize, 0_usize);
    move |token| {
        let TokenTree::Punct(p) = token else {
            colons = 0;
            return false;
        };
        match p.as_char() {
            ':' => {
                colons += 1;
                return false;
            }
            '<' if depth > 0 || colons == 2 => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return true,
            _ => {}
        }
        colons = 0;
        false
    }
}

fn group(delimiter: Delimiter, stream: TokenStream) -> TokenTree {
    TokenTree::Group(Group::new(delimiter, stream))
}

/// Source text as tokens of the caller's place.
fn code(source: &str) -> TokenStream {
    source.parse().unwrap_or_default()
}
