//! From characters to tokens.

use super::error::{SqlError, SqlProblem};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    /// Between its quotes; those inside are still doubled.
    Text(&'a str),
    /// 2^63 at most, which only fits with a minus before it.
    Whole(u64),
    Decimal(f64),
    Symbol(Symbol),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Two characters before one.
const SYMBOLS: [(&str, Symbol); 12] = [
    ("<>", Symbol::Unequal),
    ("!=", Symbol::Unequal),
    ("<=", Symbol::LessOrEqual),
    (">=", Symbol::GreaterOrEqual),
    ("=", Symbol::Equal),
    ("<", Symbol::Less),
    (">", Symbol::Greater),
    ("(", Symbol::Open),
    (")", Symbol::Close),
    (",", Symbol::Comma),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
];

const LARGEST_WHOLE: u64 = 1 << 63;

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and the byte it begins with. After the last one, [`Token::End`] again and again.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'a>), SqlError> {
        self.skip_blank()?;
        let at = self.at;
        let rest = &self.text[at..];
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        let (token, length) = if first == '\'' {
            self.quoted(rest)?
        } else if is_word_start(first) {
            let length = rest.find(|c| !is_word_part(c)).unwrap_or(rest.len());
            (Token::Word(&rest[..length]), length)
        } else if first.is_ascii_digit() || first == '.' {
            self.number(rest)?
        } else {
            let symbol = SYMBOLS.iter().find(|(text, _)| rest.starts_with(text));
            let (text, symbol) = symbol.ok_or_else(|| self.error(at, unexpected(first)))?;
            (Token::Symbol(*symbol), text.len())
        };
        self.at = at + length;
        Ok((at, token))
    }

    /// A problem at this byte.
    pub(super) fn error(&self, at: usize, problem: SqlProblem) -> SqlError {
        let before = self.text.get(..at).unwrap_or(self.text);
        SqlError { column: before.chars().count() + 1, problem }
    }

    fn skip_blank(&mut self) -> Result<(), SqlError> {
        loop {
            let rest = &self.text[self.at..];
            let solid = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - solid.len();
            if let Some(comment) = solid.strip_prefix("--") {
                self.at += 2 + comment.find(['\n', '\r']).unwrap_or(comment.len());
            } else if let Some(comment) = solid.strip_prefix("/*") {
                let end = comment.find("*/");
                let end = end.ok_or_else(|| self.error(self.at, SqlProblem::Unended("the comment")))?;
                self.at += 2 + end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn quoted(&self, rest: &'a str) -> Result<(Token<'a>, usize), SqlError> {
        let mut end = 1;
        while let Some(quote) = rest[end..].find('\'') {
            end += quote + 1;
            if !rest[end..].starts_with('\'') {
                return Ok((Token::Text(&rest[1..end - 1]), end));
            }
            end += 1;
        }
        Err(self.error(self.at, SqlProblem::Unended("the text")))
    }

    fn number(&self, rest: &'a str) -> Result<(Token<'a>, usize), SqlError> {
        let problem = |problem| self.error(self.at, problem);
        let whole = digits(rest);
        let fraction = rest[whole..].strip_prefix('.').map_or(0, |rest| 1 + digits(rest));
        if whole == 0 && fraction < 2 {
            return Err(problem(unexpected('.')));
        }
        let mantissa = whole + fraction;
        let length = mantissa + exponent(&rest[mantissa..]);
        let image = &rest[..length];
        let suffix = rest[length..].starts_with(['l', 'L']) && length == whole;
        let end = length + usize::from(suffix);
        if let Some(stray) = rest[end..].chars().next().filter(|c| is_word_part(*c) || *c == '.') {
            return Err(self.error(self.at + end, unexpected(stray)));
        }
        if length > whole {
            let decimal = image.parse::<f64>().ok().filter(|decimal| decimal.is_finite());
            return Ok((Token::Decimal(decimal.ok_or_else(|| problem(SqlProblem::NumberOutOfRange))?), end));
        }
        if whole > 1 && image.starts_with('0') {
            return Err(problem(SqlProblem::LeadingZero));
        }
        let number = image.parse().ok().filter(|number| *number <= LARGEST_WHOLE);
        Ok((Token::Whole(number.ok_or_else(|| problem(SqlProblem::NumberOutOfRange))?), end))
    }
}

fn unexpected(found: char) -> SqlProblem {
    let expected = "a property, a literal or an operator";
    SqlProblem::Unexpected { expected, found: format!("'{}'", found.escape_debug()) }
}

const fn is_word_start(character: char) -> bool {
    character.is_ascii_alphabetic() || matches!(character, '_' | '$')
}

const fn is_word_part(character: char) -> bool {
    is_word_start(character) || character.is_ascii_digit()
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Length of the exponent that the text begins with; 0 when it begins with none.
fn exponent(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else { return 0 };
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    match digits(unsigned) {
        0 => 0,
        digits => text.len() - unsigned.len() + digits,
    }
}
