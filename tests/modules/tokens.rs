//! Rust's text as tokens, as far as paths need them.

/// Identifiers, punctuation and plain strings, without what stands under `#[cfg(test)]`. `::` is one token, a string is one
/// with its quotes; comments, raw strings and characters are left out.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    without_tests(all(text))
}

/// Whether a token is an identifier, a keyword or a number.
pub(crate) fn is_word(token: &str) -> bool {
    token.starts_with(word)
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn all(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let passed = comment(rest)
            .or_else(|| raw_string(rest))
            .or_else(|| quoted(rest));
        let len = passed.unwrap_or_else(|| match c {
            _ if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            _ => c.len_utf8(),
        });
        if (passed.is_none() && !c.is_whitespace()) || c == '"' {
            found.push(rest[..len].to_string());
        }
        rest = &rest[len..];
    }
    found
}

/// The length of a comment.
fn comment(text: &str) -> Option<usize> {
    let end = |mark: &str| text.find(mark).map_or(text.len(), |at| at + mark.len());
    match text.get(..2)? {
        "//" => Some(end("\n")),
        "/*" => Some(end("*/")),
        _ => None,
    }
}

/// The length of `r"..."`, `br#"..."#` and so on.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let open = hashes.trim_start_matches('#').strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes.len() - open.len() - 1));
    let start = text.len() - open.len();
    Some(
        open.find(&end)
            .map_or(text.len(), |at| start + at + end.len()),
    )
}

/// The length of a string or of a character; a lifetime is neither.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| "\"'".contains(*c))?;
    let body = &text[1..];
    let mut chars = body.char_indices();
    if quote == '\'' && !body.starts_with('\\') {
        let (at, end) = chars.nth(1)?;
        return (end == '\'').then_some(at + 2);
    }
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(at + 2);
        }
    }
    None
}

fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = &tokens[..];
    while let Some((first, others)) = rest.split_first() {
        let test = rest.len() > TEST.len() && rest.iter().zip(TEST).all(|(a, b)| a == b);
        rest = if test {
            let behind = &rest[TEST.len()..];
            &behind[item(behind)..]
        } else {
            kept.push(first.clone());
            others
        };
    }
    kept
}

/// Tokens of an item or a statement: up to its semicolon, or the end of its block.
fn item(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && [";", "}"].contains(&token.as_str()) {
            return i + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_is_no_test_is_seen() {
        let text = r##"
            /* a */ b::c // d
            "e \" f" r#"g " h"# 'i' '\'' '"' &'j mut 7
            #[cfg(test)] mod k { fn l() {} }
            #[cfg(test)] #[path = "m.rs"] mod n;
            #[cfg(test)] use o::{p, q};
            r"##;
        let found = tokens(text).join(" ");
        assert_eq!(found, r#"b :: c "e \" f" & ' j mut 7 ; r"#);
    }
}
