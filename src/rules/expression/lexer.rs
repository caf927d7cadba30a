//! The lexer: source text to tokens. It knows keywords and the shapes of literals, no fields.

use super::ast::{ComparisonOperator, Literal, LogicalOperator, Relation, Span, Spanned};
use super::error::ExpressionError;
use super::literal::{StringLiteral, number_or_address};

/// The smallest unit of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// A name: of a field, a function, or something mistaken.
    Word(&'s str),
    Literal(Literal<'s>),
    Bool(bool),
    /// `$name`, without its `$`.
    List(&'s str),
    Comparison(ComparisonOperator),
    In,
    Logical(LogicalOperator),
    Not,
    LeftParenthesis,
    RightParenthesis,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Star,
}

/// Splits `source` into tokens, up to the first text which is none; that is the error.
pub(super) fn tokenize(source: &str) -> (Vec<Spanned<Token<'_>>>, Option<ExpressionError>) {
    let mut lexer = Lexer {
        source,
        position: 0,
    };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.skip_white_space() {
        let start = lexer.position;
        match lexer.token(first) {
            Ok(node) => {
                let span = lexer.since(start);
                tokens.push(Spanned { node, span });
            }
            Err(error) => return (tokens, Some(error)),
        }
    }
    (tokens, None)
}

/// Longer symbols come before their own beginnings.
const SYMBOLS: &[(&str, Token<'_>)] = &[
    ("==", relation(Relation::Equal)),
    ("!=", relation(Relation::NotEqual)),
    ("<=", relation(Relation::LessOrEqual)),
    (">=", relation(Relation::GreaterOrEqual)),
    ("&&", Token::Logical(LogicalOperator::And)),
    ("||", Token::Logical(LogicalOperator::Or)),
    ("^^", Token::Logical(LogicalOperator::Xor)),
    ("<", relation(Relation::Less)),
    (">", relation(Relation::Greater)),
    ("~", Token::Comparison(ComparisonOperator::Matches)),
    ("!", Token::Not),
    ("(", Token::LeftParenthesis),
    (")", Token::RightParenthesis),
    ("{", Token::LeftBrace),
    ("}", Token::RightBrace),
    ("[", Token::LeftBracket),
    ("]", Token::RightBracket),
    (",", Token::Comma),
    ("*", Token::Star),
];

/// The words which are operators or constants.
pub(super) const KEYWORDS: &[(&str, Token<'_>)] = &[
    ("eq", relation(Relation::Equal)),
    ("ne", relation(Relation::NotEqual)),
    ("lt", relation(Relation::Less)),
    ("le", relation(Relation::LessOrEqual)),
    ("gt", relation(Relation::Greater)),
    ("ge", relation(Relation::GreaterOrEqual)),
    ("contains", Token::Comparison(ComparisonOperator::Contains)),
    ("matches", Token::Comparison(ComparisonOperator::Matches)),
    ("wildcard", Token::Comparison(ComparisonOperator::Wildcard)),
    ("in", Token::In),
    ("and", Token::Logical(LogicalOperator::And)),
    ("xor", Token::Logical(LogicalOperator::Xor)),
    ("or", Token::Logical(LogicalOperator::Or)),
    ("not", Token::Not),
    ("true", Token::Bool(true)),
    ("false", Token::Bool(false)),
];

const fn relation(relation: Relation) -> Token<'static> {
    Token::Comparison(ComparisonOperator::Relation(relation))
}

struct Lexer<'s> {
    source: &'s str,
    position: usize,
}

impl<'s> Lexer<'s> {
    fn token(&mut self, first: char) -> Result<Token<'s>, ExpressionError> {
        match first {
            '"' => self.quoted_string(),
            'r' if self.at_raw_string() => self.raw_string(),
            '$' => Ok(self.list()),
            '\'' | '‘' | '’' | '“' | '”' => Err(self.foreign_quote(first)),
            _ if self.at_number_or_address() => self.number_or_address(),
            _ if first.is_ascii_alphabetic() || first == '_' => self.word(),
            _ => self.symbol(first),
        }
    }

    fn word(&mut self) -> Result<Token<'s>, ExpressionError> {
        let start = self.position;
        let word = self.take_while(is_word);
        if word == "strict" {
            return self.strict_wildcard(start);
        }
        Ok(KEYWORDS
            .iter()
            .find(|(keyword, _)| *keyword == word)
            .map_or(Token::Word(word), |(_, token)| *token))
    }

    fn strict_wildcard(&mut self, start: usize) -> Result<Token<'s>, ExpressionError> {
        let strict = self.since(start);
        self.skip_white_space();
        if self.take_while(is_word) == "wildcard" {
            return Ok(Token::Comparison(ComparisonOperator::StrictWildcard));
        }
        Err(
            ExpressionError::new(strict, "expected `wildcard` after `strict`")
                .with_help("the operators are `wildcard` and `strict wildcard`"),
        )
    }

    fn list(&mut self) -> Token<'s> {
        self.advance(1);
        Token::List(self.take_while(is_word))
    }

    /// An IPv6 address may start like a word: `fe80::1`.
    fn at_number_or_address(&self) -> bool {
        let rest = self.rest();
        let unsigned = rest.strip_prefix('-').unwrap_or(rest);
        unsigned.starts_with(|first: char| first.is_ascii_digit())
            || rest.starts_with(':')
            || rest
                .trim_start_matches(|digit: char| digit.is_ascii_hexdigit())
                .starts_with(':')
    }

    fn number_or_address(&mut self) -> Result<Token<'s>, ExpressionError> {
        let start = self.position;
        let word =
            self.take_while(|character| is_word(character) || matches!(character, ':' | '/'));
        number_or_address(word, self.since(start)).map(Token::Literal)
    }

    fn quoted_string(&mut self) -> Result<Token<'s>, ExpressionError> {
        let start = self.position;
        self.advance(1);
        let body_start = self.position;
        let mut escaped = false;
        let body = self.take_while(|character| {
            let closing = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            !closing
        });
        if self.rest().is_empty() {
            return Err(
                ExpressionError::new(self.since(start), "unterminated string").with_help(
                    "a string ends with `\"`; inside it, write `\\\"` for a double quote",
                ),
            );
        }
        self.advance(1);
        Ok(string(body, body_start, false))
    }

    fn at_raw_string(&self) -> bool {
        self.rest()
            .strip_prefix('r')
            .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    }

    fn raw_string(&mut self) -> Result<Token<'s>, ExpressionError> {
        let start = self.position;
        self.advance(1);
        let hashes = self.take_while(|character| character == '#');
        self.advance(1);
        let body_start = self.position;
        let closing = format!("\"{hashes}");
        let Some(body) = self
            .rest()
            .split(&closing)
            .next()
            .filter(|body| body.len() < self.rest().len())
        else {
            self.position = self.source.len();
            return Err(
                ExpressionError::new(self.since(start), "unterminated raw string")
                    .with_help(format!("this string ends with `{closing}`")),
            );
        };
        self.advance(body.len() + closing.len());
        Ok(string(body, body_start, true))
    }

    fn foreign_quote(&mut self, quote: char) -> ExpressionError {
        let start = self.position;
        self.advance(quote.len_utf8());
        let is_quote = |character| matches!(character, '\'' | '‘' | '’' | '“' | '”');
        let content = self.take_while(|character| !is_quote(character));
        let closing = self.rest().chars().next().map_or(0, char::len_utf8);
        self.advance(closing);
        ExpressionError::new(
            self.since(start),
            format!("`{quote}` does not start a string"),
        )
        .with_help(format!(
            "strings are written in double quotes: `\"{}\"`",
            content.trim_end()
        ))
    }

    fn symbol(&mut self, first: char) -> Result<Token<'s>, ExpressionError> {
        let rest = self.rest();
        if let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            self.advance(symbol.len());
            return Ok(*token);
        }
        let start = self.position;
        self.advance(first.len_utf8());
        let (message, help) = match first {
            '=' => ("`=` is not an operator", "did you mean `==` (or `eq`)?"),
            '&' => ("`&` is not an operator", "did you mean `&&` (or `and`)?"),
            '|' => ("`|` is not an operator", "did you mean `||` (or `or`)?"),
            '^' => ("`^` is not an operator", "did you mean `^^` (or `xor`)?"),
            _ => {
                let message = format!("unexpected character `{}`", first.escape_debug());
                return Err(ExpressionError::new(self.since(start), message)
                    .with_help("strings are written in double quotes"));
            }
        };
        Err(ExpressionError::new(self.since(start), message).with_help(help))
    }

    /// Skips white space and looks at the next character.
    fn skip_white_space(&mut self) -> Option<char> {
        self.take_while(|character| matches!(character, ' ' | '\t' | '\r' | '\n'));
        self.rest().chars().next()
    }

    fn take_while(&mut self, mut accept: impl FnMut(char) -> bool) -> &'s str {
        let rest = self.rest();
        let length = rest
            .find(|character| !accept(character))
            .unwrap_or(rest.len());
        self.advance(length);
        rest.get(..length).unwrap_or_default()
    }

    fn rest(&self) -> &'s str {
        self.source.get(self.position..).unwrap_or_default()
    }

    const fn advance(&mut self, length: usize) {
        self.position += length;
    }

    const fn since(&self, start: usize) -> Span {
        Span {
            start,
            end: self.position,
        }
    }
}

/// A hyphen belongs to no name, but taking `my-host.example` as one word gives the better message.
const fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

const fn string(body: &str, start: usize, raw: bool) -> Token<'_> {
    Token::Literal(Literal::String(StringLiteral { body, start, raw }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        let (tokens, error) = tokenize(source);
        assert_eq!(error, None);
        tokens.iter().map(|token| token.span.text(source)).collect()
    }

    #[test]
    fn tokens_span_their_text() {
        for (source, expected) in [
            ("", vec![]),
            (" \t\r\n", vec![]),
            ("http.host eq \"a b\"", vec!["http.host", "eq", "\"a b\""]),
            ("a==b", vec!["a", "==", "b"]),
            (
                "!a&&b||c^^d",
                vec!["!", "a", "&&", "b", "||", "c", "^^", "d"],
            ),
            (
                "a<1 a<=1 a>1 a>=1",
                vec!["a", "<", "1", "a", "<=", "1", "a", ">", "1", "a", ">=", "1"],
            ),
            (
                "x[\"k\"][0][*]",
                vec!["x", "[", "\"k\"", "]", "[", "0", "]", "[", "*", "]"],
            ),
            ("strict  wildcard", vec!["strict  wildcard"]),
            ("{80 8000..8999}", vec!["{", "80", "8000..8999", "}"]),
            (
                "fe80::1 dead:beef::/32 ::1",
                vec!["fe80::1", "dead:beef::/32", "::1"],
            ),
            ("r\"a\\\" r#\"b\"c\"#", vec!["r\"a\\\"", "r#\"b\"c\"#"]),
            ("\"a\\\"b\" \"\\\\\"", vec!["\"a\\\"b\"", "\"\\\\\""]),
            ("f(a,b)", vec!["f", "(", "a", ",", "b", ")"]),
            ("$my_list", vec!["$my_list"]),
        ] {
            assert_eq!(texts(source), expected, "{source}");
        }
    }

    #[test]
    fn both_spellings_are_one_token() {
        let node = |source| tokenize(source).0.first().unwrap().node;
        for (word, symbol) in [
            ("eq", "=="),
            ("ne", "!="),
            ("lt", "<"),
            ("le", "<="),
            ("gt", ">"),
            ("ge", ">="),
            ("matches", "~"),
            ("and", "&&"),
            ("xor", "^^"),
            ("or", "||"),
            ("not", "!"),
        ] {
            assert_eq!(node(word), node(symbol), "{word}");
        }
    }

    #[test]
    fn text_which_is_no_token_is_explained() {
        for (source, text, help) in [
            ("a = \"b\"", "=", "`==`"),
            ("a & b", "&", "`&&`"),
            ("a | b", "|", "`||`"),
            ("a ^ b", "^", "`^^`"),
            ("a eq 'b c' or d", "'b c'", "`\"b c\"`"),
            ("a eq “b”", "“b”", "`\"b\"`"),
            ("a eq 'b", "'b", "double quotes"),
            ("a eq /b", "/", "double quotes"),
            ("a eq é", "é", "double quotes"),
            ("a eq \"b", "\"b", "ends with"),
            ("a eq \"b\\\"", "\"b\\\"", "ends with"),
            ("a eq r#\"b\"", "r#\"b\"", "`\"#`"),
            ("a strict \"b\"", "strict", "`strict wildcard`"),
            ("a eq 1x", "1x", "double quotes"),
        ] {
            let error = tokenize(source).1.unwrap();
            assert_eq!(&source[error.span.clone()], text, "{source}: {error}");
            assert!(error.help.unwrap().contains(help), "{source}");
        }
    }
}
