//! How names and shapes compare.

use std::cmp::Ordering;

/// What follows the part `side` of a dotted name, underscores around it or not.
pub(super) fn below<'n>(name: &'n str, side: &str) -> Option<&'n str> {
    let mut rest = name;
    while let Some((part, behind)) = rest.split_once('.') {
        if part.trim_matches('_') == side {
            return Some(behind);
        }
        rest = behind;
    }
    None
}

/// The order in which numbers count as numbers, and whether the first difference is one of numbers.
pub(super) fn natural(a: &str, b: &str) -> (Ordering, bool) {
    let (a, b) = (tokens(a), tokens(b));
    let differ = a.iter().zip(&b).find(|(a, b)| a != b);
    let numbers = matches!(differ, Some((Token::Number(_), Token::Number(_))));
    (a.cmp(&b), numbers)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token<'n> {
    Number(u64),
    Word(&'n str),
}

fn tokens(name: &str) -> Vec<Token<'_>> {
    let digit = |c: char| c.is_ascii_digit();
    let mut tokens = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let numeric = digit(first);
        let end = rest.find(|c| digit(c) != numeric).unwrap_or(rest.len());
        let (token, behind) = rest.split_at(end);
        let number = token.parse().ok().filter(|_| numeric);
        tokens.push(number.map_or(Token::Word(token), Token::Number));
        rest = behind;
    }
    tokens
}

/// Whether shapes are equal but for sides of 1, so that values lie in the same order.
pub(super) fn fits(a: &[usize], b: &[usize]) -> bool {
    let sides =
        |shape: &[usize]| -> Vec<usize> { shape.iter().copied().filter(|&n| n != 1).collect() };
    sides(a) == sides(b)
}

/// Whether b is a table that has a's rows as columns.
pub(super) fn transposed(a: &[usize], b: &[usize]) -> bool {
    matches!((a, b), (&[k, d], &[columns, rows]) if k == rows && d == columns)
}
