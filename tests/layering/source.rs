//! Rust source as the layer rules use it: words and paths, without comments, literals and test
//! code.
//!
//! A minimal lexer, not a parser: it recognises comments, strings, characters and lifetimes, so
//! that a word in a text does not count as code.

/// One token and the line it is on.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A path such as `std::net::IpAddr`, with the groups of a `use` written out; a macro call ends in
/// `!`.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
    /// Whether it is part of a `use`.
    pub(crate) imported: bool,
    /// Whether that `use` is a re-export: `pub use`, `pub(crate) use`.
    pub(crate) exported: bool,
    /// The name after `as`.
    pub(crate) alias: Option<String>,
}

/// Splits `text` into words and punctuation. `::` is one token; comments, literals and lifetimes
/// are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token() {
        tokens.extend(token);
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl Lexer<'_> {
    /// The next token; `Some(None)` for skipped text, `None` at the end.
    fn token(&mut self) -> Option<Option<Token>> {
        let first = self.rest.chars().next()?;
        let literal = self.literal_len();
        let (len, kept) = if let Some(len) = literal {
            (len, false)
        } else if first == '_' || first.is_alphanumeric() {
            (length_while(self.rest, |c| c == '_' || c.is_alphanumeric()), true)
        } else if self.rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        let (text, rest) = self.rest.split_at(len);
        let token = kept.then(|| Token { line: self.line, text: text.to_owned() });
        self.line += text.matches('\n').count();
        self.rest = rest;
        Some(token)
    }

    /// The length of the comment, string, character or lifetime that starts here.
    fn literal_len(&self) -> Option<usize> {
        let rest = self.rest;
        if rest.starts_with("//") {
            return Some(length_while(rest, |c| c != '\n'));
        }
        if rest.starts_with("/*") {
            return Some(block_comment_len(rest));
        }
        if rest.starts_with('\'') {
            return Some(quote_len(rest));
        }
        let prefix = length_while(rest, |c| matches!(c, 'r' | 'b' | 'c'));
        let hashes = length_while(rest.get(prefix..)?, |c| c == '#');
        let raw = rest.get(..prefix)?.contains('r');
        if !rest.get(prefix + hashes..)?.starts_with('"') || (hashes > 0 && !raw) {
            return None;
        }
        let open = prefix + hashes + 1;
        let body = rest.get(open..)?;
        let end = if raw {
            let close = format!("\"{}", "#".repeat(hashes));
            body.find(&close).map_or(body.len(), |at| at + close.len())
        } else {
            string_body_len(body)
        };
        Some(open + end)
    }
}

fn length_while(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A character literal, or a lifetime.
fn quote_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            text[escaped + 1..].find('\'').map_or(text.len(), |at| escaped + at + 2)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1 + length_while(&text[1..], |c| c == '_' || c.is_alphanumeric()),
    }
}

/// The length of a string's content and its closing quote.
fn string_body_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The tokens without the items under `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        let marked = rest.len() >= MARK.len() && rest.iter().zip(MARK).all(|(t, m)| t.text == m);
        if marked {
            rest = after_item(&rest[MARK.len()..]);
        } else {
            kept.push(first.clone());
            rest = &rest[1..];
        }
    }
    kept
}

/// The tokens after the item that starts here: it ends with a `;` outside of brackets, or with its
/// block.
fn after_item(tokens: &[Token]) -> &[Token] {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            "}" if depth == 1 => return &tokens[at + 1..],
            ")" | "]" | "}" => depth -= 1,
            ";" if depth == 0 => return &tokens[at + 1..],
            _ => {}
        }
    }
    &[]
}

/// Every path in `tokens`; a lone word is a path of one segment.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_word(&tokens[at].text) {
            let kind = Use::before(tokens, at);
            at = walk(tokens, at, &[], kind, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// The context of a path in the code.
#[derive(Clone, Copy)]
struct Use {
    imported: bool,
    exported: bool,
}

impl Use {
    /// The context from the tokens before `at`.
    fn before(tokens: &[Token], at: usize) -> Self {
        let text = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].text.as_str());
        let imported = text(1) == "use";
        Self { imported, exported: imported && (text(2) == "pub" || text(2) == ")") }
    }
}

/// Parses one path from `at`, after the segments `before`; returns the index of its end.
fn walk(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    kind: Use,
    found: &mut Vec<Path>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let line = tokens[at].line;
    let mut segments = before.to_vec();
    segments.push(text(at).to_owned());
    at += 1;
    while text(at) == "::" {
        at += 1;
        if text(at) == "{" {
            return walk_group(tokens, at + 1, &segments, kind, found);
        }
        if !is_word(text(at)) && text(at) != "*" {
            break;
        }
        segments.push(text(at).to_owned());
        at += 1;
    }
    if let ("!", Some(last)) = (text(at), segments.last_mut()) {
        last.push('!');
    }
    let Use { imported, exported } = kind;
    let alias = (imported && text(at) == "as").then(|| text(at + 1).to_owned());
    at += if alias.is_some() { 2 } else { 0 };
    found.push(Path { line, segments, imported, exported, alias });
    at
}

fn walk_group(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    kind: Use,
    found: &mut Vec<Path>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token.text.as_str() {
            "}" => return at + 1,
            word if is_word(word) || word == "*" => walk(tokens, at, before, kind, found),
            _ => at + 1,
        };
    }
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphabetic())
}
