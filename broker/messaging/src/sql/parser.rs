//! From tokens to the syntax tree, by recursive descent.
//!
//! Loosest first: OR, AND, NOT, equality and IS NULL, the other comparisons, signs. Every level of recursion is
//! counted, so that hostile input ends in an error and not at the end of the stack.

use super::error::{SqlError, SqlProblem};
use super::lexer::{Lexer, Symbol, Token};
use super::number::Number;
use super::tree::{Comparison, Kind, Node};
use super::{MAX_DEPTH, MAX_EXPRESSION_BYTES};

const RESERVED: [&str; 12] = [
    "NOT",
    "AND",
    "OR",
    "BETWEEN",
    "IN",
    "TRUE",
    "FALSE",
    "NULL",
    "IS",
    "CONTAINS",
    "STARTSWITH",
    "ENDSWITH",
];

const OPERAND: &str = "a property, a literal, NOT or '('";

pub(super) fn parse(text: &str) -> Result<Node, SqlError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        let problem = SqlProblem::TooLong { bytes: text.len(), limit: MAX_EXPRESSION_BYTES };
        return Err(SqlError { column: 1, problem });
    }
    let mut lexer = Lexer::new(text);
    let (at, token) = lexer.next()?;
    let mut parser = Parser { lexer, at, token, depth: 0 };
    let condition = parser.either(at)?;
    let condition = parser.condition(condition, at)?;
    match parser.token {
        Token::End => Ok(condition),
        _ => Err(parser.unexpected("AND, OR or the end of the expression")),
    }
}

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Where the token begins.
    pub(super) at: usize,
    token: Token<'a>,
    depth: usize,
}

pub(super) type Parsed<T = Node> = Result<T, SqlError>;

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Parsed<Token<'a>> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn is_word(&self, wanted: &str) -> bool {
        matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(wanted))
    }

    pub(super) fn take_word(&mut self, wanted: &str) -> Parsed<bool> {
        let there = self.is_word(wanted);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    pub(super) fn take_symbol(&mut self, wanted: Symbol) -> Parsed<bool> {
        let there = self.token == Token::Symbol(wanted);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    pub(super) fn demand(&mut self, wanted: Symbol, expected: &'static str) -> Parsed<()> {
        if self.take_symbol(wanted)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    pub(super) fn unexpected(&self, expected: &'static str) -> SqlError {
        let found = match &self.token {
            Token::Word(word) => format!("'{}'", shortened(word)),
            Token::Text(text) => format!("the text '{}'", shortened(text)),
            Token::Whole(number) => format!("the number {number}"),
            Token::Decimal(number) => format!("the number {number}"),
            Token::Symbol(symbol) => format!("'{}'", symbol.as_str()),
            Token::End => "the end of the expression".to_owned(),
        };
        self.error(self.at, SqlProblem::Unexpected { expected, found })
    }

    fn error(&self, at: usize, problem: SqlProblem) -> SqlError {
        self.lexer.error(at, problem)
    }

    pub(super) fn mismatch(&self, at: usize, what: &'static str) -> SqlError {
        self.error(at, SqlProblem::Mismatch(what))
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(self.at, SqlProblem::TooDeep { limit: MAX_DEPTH }));
        }
        Ok(())
    }

    /// `node`, which began at `at`, where a condition is needed.
    fn condition(&self, node: Node, at: usize) -> Parsed {
        match node.kind() {
            Kind::Boolean | Kind::Null | Kind::Property => Ok(node),
            Kind::Text => Err(self.mismatch(at, "a text is no condition")),
            Kind::Number => Err(self.mismatch(at, "a number is no condition")),
        }
    }

    fn either(&mut self, at: usize) -> Parsed {
        self.chain("OR", at, Node::Or, Self::both)
    }

    fn both(&mut self, at: usize) -> Parsed {
        self.chain("AND", at, Node::And, Self::negation)
    }

    fn chain(
        &mut self,
        word: &'static str,
        at: usize,
        joined: impl FnOnce(Vec<Node>) -> Node,
        mut part: impl FnMut(&mut Self, usize) -> Parsed,
    ) -> Parsed {
        let first = part(self, at)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut parts = vec![self.condition(first, at)?];
        while self.take_word(word)? {
            let at = self.at;
            let next = part(self, at)?;
            parts.push(self.condition(next, at)?);
        }
        Ok(joined(parts))
    }

    fn negation(&mut self, at: usize) -> Parsed {
        if !self.take_word("NOT")? {
            return self.equality(at);
        }
        self.deeper()?;
        let at = self.at;
        let node = self.negation(at)?;
        let node = self.condition(node, at)?;
        self.depth -= 1;
        Ok(Node::Not(Box::new(node)))
    }

    fn equality(&mut self, at: usize) -> Parsed {
        let depth = self.depth;
        let mut left = self.relation()?;
        loop {
            let by = match self.token {
                Token::Symbol(Symbol::Equal) => Some(Comparison::Equal),
                Token::Symbol(Symbol::Unequal) => Some(Comparison::Unequal),
                Token::Word(word) if word.eq_ignore_ascii_case("IS") => None,
                _ => break,
            };
            self.deeper()?;
            self.advance()?;
            left = match by {
                Some(by) => {
                    let right_at = self.at;
                    let right = self.relation()?;
                    self.check_equal(&left, at, &right, right_at)?;
                    Node::Compare { left: Box::new(left), by, right: Box::new(right) }
                }
                None => {
                    let negated = self.take_word("NOT")?;
                    if !self.take_word("NULL")? {
                        return Err(self.unexpected(if negated { "NULL" } else { "NULL or NOT NULL" }));
                    }
                    Node::IsNull(Box::new(left)).negated_if(negated)
                }
            };
        }
        self.depth = depth;
        Ok(left)
    }

    fn check_equal(&self, left: &Node, left_at: usize, right: &Node, right_at: usize) -> Parsed<()> {
        match (left.kind(), right.kind()) {
            (Kind::Null, _) => Err(self.mismatch(left_at, NULL_COMPARED)),
            (_, Kind::Null) => Err(self.mismatch(right_at, NULL_COMPARED)),
            (Kind::Boolean, Kind::Text | Kind::Number) | (Kind::Text | Kind::Number, Kind::Boolean) => {
                Err(self
                    .mismatch(right_at, "a condition can be compared with another and with properties only"))
            }
            _ => Ok(()),
        }
    }

    /// An operand and what it is compared with, if anything.
    fn relation(&mut self) -> Parsed {
        let at = self.at;
        let left = self.operand()?;
        let by = match self.token {
            Token::Symbol(Symbol::Less) => Comparison::Less,
            Token::Symbol(Symbol::LessOrEqual) => Comparison::LessOrEqual,
            Token::Symbol(Symbol::Greater) => Comparison::Greater,
            Token::Symbol(Symbol::GreaterOrEqual) => Comparison::GreaterOrEqual,
            _ => return self.worded(left, at),
        };
        self.check_ordered(&left, at)?;
        self.advance()?;
        let right = self.ordered()?;
        Ok(Node::Compare { left: Box::new(left), by, right: Box::new(right) })
    }

    pub(super) fn ordered(&mut self) -> Parsed {
        let at = self.at;
        let node = self.operand()?;
        self.check_ordered(&node, at)?;
        Ok(node)
    }

    pub(super) fn check_ordered(&self, node: &Node, at: usize) -> Parsed<()> {
        match node.kind() {
            Kind::Property | Kind::Text | Kind::Number => Ok(()),
            Kind::Boolean => Err(self.mismatch(at, "conditions have no order")),
            Kind::Null => Err(self.mismatch(at, NULL_COMPARED)),
        }
    }

    pub(super) fn text(&mut self, expected: &'static str) -> Parsed<String> {
        let Token::Text(text) = self.token else { return Err(self.unexpected(expected)) };
        self.advance()?;
        Ok(text.replace("''", "'"))
    }

    fn operand(&mut self) -> Parsed {
        let at = self.at;
        let negative = self.token == Token::Symbol(Symbol::Minus);
        if !negative && self.token != Token::Symbol(Symbol::Plus) {
            return self.primary(false);
        }
        self.deeper()?;
        self.advance()?;
        let node = match self.token {
            Token::Symbol(Symbol::Minus | Symbol::Plus) => self.operand()?,
            _ => self.primary(negative)?,
        };
        self.depth -= 1;
        match node {
            Node::Number(number) if negative => Ok(Node::Number(number.negated())),
            Node::Property(_) | Node::Negated(_) if negative => Ok(Node::Negated(Box::new(node))),
            Node::Number(_) | Node::Property(_) | Node::Negated(_) => Ok(node),
            _ => Err(self.mismatch(at, "a sign needs a number or a property after it")),
        }
    }

    /// `negative` tells that a minus stands before it, which the least whole number needs.
    fn primary(&mut self, negative: bool) -> Parsed {
        match self.token {
            Token::Text(_) => self.text(OPERAND).map(|text| Node::Text(text.into())),
            Token::Whole(number) => {
                let number = self.whole(number, negative)?;
                self.advance()?;
                Ok(Node::Number(number))
            }
            Token::Decimal(number) => {
                self.advance()?;
                Ok(Node::Number(Number::Decimal(number)))
            }
            Token::Symbol(Symbol::Open) => self.parenthesized(),
            Token::Word(word) => {
                let node = match RESERVED.iter().find(|reserved| word.eq_ignore_ascii_case(reserved)) {
                    None => Node::Property(word.into()),
                    Some(&"TRUE") => Node::Boolean(true),
                    Some(&"FALSE") => Node::Boolean(false),
                    Some(&"NULL") => Node::Null,
                    Some(_) => return Err(self.unexpected(OPERAND)),
                };
                self.advance()?;
                Ok(node)
            }
            Token::Symbol(_) | Token::End => Err(self.unexpected(OPERAND)),
        }
    }

    fn whole(&self, number: u64, negative: bool) -> Parsed<Number> {
        match i64::try_from(number) {
            Ok(number) => Ok(Number::Whole(number)),
            // What the minus makes of it fits again.
            Err(_) if negative => Ok(Number::Decimal(number as f64)),
            Err(_) => Err(self.error(self.at, SqlProblem::NumberOutOfRange)),
        }
    }

    fn parenthesized(&mut self) -> Parsed {
        self.deeper()?;
        self.advance()?;
        let node = self.either(self.at)?;
        self.demand(Symbol::Close, "an operator or ')'")?;
        self.depth -= 1;
        Ok(node)
    }
}

const NULL_COMPARED: &str = "NULL can be compared with IS NULL and IS NOT NULL only";

/// As much of a text as an error shows.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 32;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl Symbol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Equal => "=",
            Self::Unequal => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}
