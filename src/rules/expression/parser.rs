//! The parser: tokens to a syntax tree, by recursive descent.
//!
//! ```text
//! or         := xor (("or" | "||") xor)*
//! xor        := and (("xor" | "^^") and)*
//! and        := unary (("and" | "&&") unary)*
//! unary      := ("not" | "!") unary | "(" or ")" | comparison
//! comparison := value [operator (literal | "{" literal+ "}" | "$" name)]
//! value      := (field | function "(" [or ("," or)*] ")" | literal) index*
//! index      := "[" (string | integer | "*") "]"
//! ```

use super::ast::{Base, Condition, Expr, Index, Literal, LogicalOperator, Span, Spanned, Value};
use super::error::{ExpressionError, closest};
use super::field::Field;
use super::lexer::{KEYWORDS, Token, tokenize};

/// How deep parentheses, negations and calls may nest.
pub(super) const MAX_DEPTH: usize = 64;

type Parsed<T> = Result<T, ExpressionError>;

/// Parses a whole source, or tells of the first mistake in it.
pub(super) fn parse(source: &str) -> Parsed<Expr<'_>> {
    let (tokens, lexical_error) = tokenize(source);
    let mut parser = Parser {
        source,
        tokens: &tokens,
        depth: 0,
    };
    match (parser.whole(), lexical_error) {
        (parsed, None) => parsed,
        (Err(error), Some(lexical)) if error.span.start < lexical.span.start => Err(error),
        (_, Some(lexical)) => Err(lexical),
    }
}

struct Parser<'t, 's> {
    source: &'s str,
    /// The tokens not consumed yet.
    tokens: &'t [Spanned<Token<'s>>],
    depth: usize,
}

impl<'s> Parser<'_, 's> {
    fn whole(&mut self) -> Parsed<Expr<'s>> {
        if self.tokens.is_empty() {
            return Err(ExpressionError::new(self.here(), "the expression is empty")
                .with_help("write `true` to select every request, `\"\"` for an empty text"));
        }
        let expr = self.or()?;
        match self.peek() {
            None => Ok(expr),
            Some(_) => Err(self.unexpected("`and`, `or`, `xor` or the end of the expression")),
        }
    }

    fn or(&mut self) -> Parsed<Expr<'s>> {
        self.chain(LogicalOperator::Or, Self::xor)
    }

    fn xor(&mut self) -> Parsed<Expr<'s>> {
        self.chain(LogicalOperator::Xor, Self::and)
    }

    fn and(&mut self) -> Parsed<Expr<'s>> {
        self.chain(LogicalOperator::And, Self::unary)
    }

    fn chain(
        &mut self,
        operator: LogicalOperator,
        operand: impl Fn(&mut Self) -> Parsed<Expr<'s>>,
    ) -> Parsed<Expr<'s>> {
        let first = operand(self)?;
        let mut operands = vec![first];
        while self.accept(Token::Logical(operator)).is_some() {
            operands.push(operand(self)?);
        }
        match <[Expr<'s>; 1]>::try_from(operands) {
            Ok([single]) => Ok(single),
            Err(operands) => Ok(Expr::Logic(operator, operands)),
        }
    }

    fn unary(&mut self) -> Parsed<Expr<'s>> {
        if let Some(operator) = self.accept(Token::Not) {
            let operand = self.nested(operator, Self::unary)?;
            return Ok(Expr::Not(operator, Box::new(operand)));
        }
        if let Some(opening) = self.accept(Token::LeftParenthesis) {
            let inner = self.nested(opening, Self::or)?;
            self.expect(Token::RightParenthesis, "`)`")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn nested<T>(&mut self, at: Span, parse: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} levels deep");
            return Err(ExpressionError::new(at, message)
                .with_help("remove needless parentheses or split the rule"));
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn comparison(&mut self) -> Parsed<Expr<'s>> {
        let value = self.value()?;
        let condition = match self.peek() {
            Some(Token::Comparison(node)) => {
                let span = self.advance();
                Condition::Compare(Spanned { node, span }, self.literal(&value)?)
            }
            Some(Token::In) => {
                let operator = self.advance();
                if let Some(Token::List(node)) = self.peek() {
                    let span = self.advance();
                    return Ok(Expr::InList(value, Spanned { node, span }));
                }
                Condition::In(operator, self.set(&value)?)
            }
            Some(Token::Word(word)) => return Err(self.unknown_operator(word, &value)),
            Some(Token::Not) => return Err(self.misplaced_not(&value)),
            _ => return Ok(Expr::Value(value)),
        };
        Ok(Expr::Comparison(value, condition))
    }

    fn literal(&mut self, value: &Value<'s>) -> Parsed<Spanned<Literal<'s>>> {
        if let Some(Token::Literal(node)) = self.peek() {
            let span = self.advance();
            return Ok(Spanned { node, span });
        }
        if let Some(Token::Bool(truth)) = self.peek() {
            let (node, span) = (Literal::Bool(truth), self.advance());
            return Ok(Spanned { node, span });
        }
        let left = value.span.text(self.source);
        match self.peek() {
            Some(Token::LeftBrace) => {
                let help = format!("only `in` takes a set: `{left} in {{…}}`");
                Err(self.unexpected("a value").with_help(help))
            }
            Some(Token::Word(word)) => Err(self.word_as_value(word)),
            Some(Token::List(name)) => {
                let help = format!("only `in` takes a list: `{left} in ${name}`");
                Err(self.unexpected("a value").with_help(help))
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn set(&mut self, value: &Value<'s>) -> Parsed<Spanned<Vec<Spanned<Literal<'s>>>>> {
        let Some(opening) = self.accept(Token::LeftBrace) else {
            return Err(self.not_a_set(value));
        };
        let mut literals = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Literal(node)) => {
                    let span = self.advance();
                    literals.push(Spanned { node, span });
                }
                Some(Token::RightBrace) if literals.is_empty() => {
                    let span = opening.to(self.here());
                    return Err(ExpressionError::new(span, "the set is empty")
                        .with_help("a set holds at least one value; for no match, write `false`"));
                }
                Some(Token::RightBrace) => {
                    let span = opening.to(self.advance());
                    let node = literals;
                    return Ok(Spanned { node, span });
                }
                Some(Token::Comma) => {
                    let message = "unexpected `,` in a set";
                    return Err(ExpressionError::new(self.here(), message)
                        .with_help("values are separated by spaces: `{1 2 3}`"));
                }
                Some(Token::Word(word)) => return Err(self.word_as_value(word)),
                _ => return Err(self.unexpected("a value or `}`")),
            }
        }
    }

    fn value(&mut self) -> Parsed<Value<'s>> {
        let base = self.base()?;
        let mut indexes = Vec::new();
        let mut span = base.span;
        while let Some(opening) = self.accept(Token::LeftBracket) {
            let index = self.index(opening)?;
            span = span.to(index.span);
            indexes.push(index);
        }
        Ok(Value {
            base,
            indexes,
            span,
        })
    }

    fn base(&mut self) -> Parsed<Spanned<Base<'s>>> {
        let node = match self.peek() {
            Some(Token::Word(name)) => return self.field_or_call(name),
            Some(Token::Bool(truth)) => Base::Literal(Literal::Bool(truth)),
            Some(Token::Literal(literal)) => Base::Literal(literal),
            _ => return Err(self.unexpected("a field, a function or `(`")),
        };
        let span = self.advance();
        Ok(Spanned { node, span })
    }

    fn field_or_call(&mut self, node: &'s str) -> Parsed<Spanned<Base<'s>>> {
        let span = self.advance();
        let Some(opening) = self.accept(Token::LeftParenthesis) else {
            let node = Base::Field(node);
            return Ok(Spanned { node, span });
        };
        let (arguments, closing) = self.nested(opening, Self::arguments)?;
        Ok(Spanned {
            node: Base::Call(Spanned { node, span }, arguments),
            span: span.to(closing),
        })
    }

    fn arguments(&mut self) -> Parsed<(Vec<Expr<'s>>, Span)> {
        let mut arguments = Vec::new();
        if let Some(closing) = self.accept(Token::RightParenthesis) {
            return Ok((arguments, closing));
        }
        loop {
            arguments.push(self.or()?);
            if self.accept(Token::Comma).is_none() {
                let closing = self.expect(Token::RightParenthesis, "`,` or `)`")?;
                return Ok((arguments, closing));
            }
        }
    }

    fn index(&mut self, opening: Span) -> Parsed<Spanned<Index<'s>>> {
        let node = match self.peek() {
            Some(Token::Star) => Index::Each,
            Some(Token::Literal(Literal::String(key))) => Index::Key(key),
            Some(Token::Literal(Literal::Int(number))) => match usize::try_from(number) {
                Ok(position) => Index::Position(position),
                Err(_) => return Err(self.unexpected("a position from 0 up")),
            },
            _ => return Err(self.unexpected("a quoted key, a position or `*`")),
        };
        self.advance();
        let closing = self.expect(Token::RightBracket, "`]`")?;
        let span = opening.to(closing);
        Ok(Spanned { node, span })
    }

    fn peek(&self) -> Option<Token<'s>> {
        self.tokens.first().map(|token| token.node)
    }

    /// Where the next token is, or would be.
    fn here(&self) -> Span {
        let end = self.source.len();
        self.tokens
            .first()
            .map_or(Span { start: end, end }, |token| token.span)
    }

    fn advance(&mut self) -> Span {
        let span = self.here();
        self.tokens = self.tokens.get(1..).unwrap_or_default();
        span
    }

    fn accept(&mut self, token: Token<'_>) -> Option<Span> {
        (self.peek() == Some(token)).then(|| self.advance())
    }

    fn expect(&mut self, token: Token<'_>, name: &str) -> Parsed<Span> {
        self.accept(token).ok_or_else(|| self.unexpected(name))
    }
}

/// Messages.
impl<'s> Parser<'_, 's> {
    fn unexpected(&self, expected: &str) -> ExpressionError {
        let span = self.here();
        let found = match self.peek() {
            None => "the end of the expression".to_owned(),
            Some(_) => format!("`{}`", span.text(self.source)),
        };
        ExpressionError::new(span, format!("expected {expected}, found {found}"))
    }

    fn not_a_set(&self, value: &Value<'s>) -> ExpressionError {
        let left = value.span.text(self.source);
        let error = self.unexpected("a set in braces or a list");
        match self.peek() {
            Some(Token::Literal(_)) => {
                let literal = self.here().text(self.source);
                error.with_help(format!("write `{left} in {{{literal}}}`"))
            }
            _ => error,
        }
    }

    fn word_as_value(&self, word: &str) -> ExpressionError {
        let error = self.unexpected("a value");
        match Field::from_name(word) {
            Some(_) => error.with_help("two fields cannot be compared with each other"),
            None => error.with_help(format!(
                "strings are written in double quotes: `\"{word}\"`"
            )),
        }
    }

    fn misplaced_not(&self, value: &Value<'s>) -> ExpressionError {
        let left = value.span.text(self.source);
        let rest = match self.tokens.get(1).map(|token| token.node) {
            Some(Token::In) => "in {…}",
            _ => "…",
        };
        self.unexpected("an operator")
            .with_help(format!("`not` comes first: `not {left} {rest}`"))
    }

    fn unknown_operator(&self, word: &str, value: &Value<'s>) -> ExpressionError {
        let error = ExpressionError::new(self.here(), format!("unknown operator `{word}`"));
        let function = match word.to_ascii_lowercase().replace('_', "").as_str() {
            "startswith" => "starts_with",
            "endswith" => "ends_with",
            other => return error.with_suggestion(operator_like(other)),
        };
        let left = value.span.text(self.source);
        error.with_help(format!("it is a function: `{function}({left}, \"…\")`"))
    }
}

/// The operator which other languages, or other spellings, call `word`.
fn operator_like(word: &str) -> Option<&'static str> {
    match word {
        "is" | "equals" | "equal" => return Some("eq"),
        "like" | "glob" => return Some("wildcard"),
        "regex" | "match" => return Some("matches"),
        "lte" => return Some("le"),
        "gte" => return Some("ge"),
        _ => {}
    }
    let names = KEYWORDS
        .iter()
        .filter(|(_, token)| matches!(token, Token::Comparison(_) | Token::In | Token::Logical(_)))
        .map(|(name, _)| *name);
    closest(word, names)
}

#[cfg(test)]
mod tests {
    use super::super::error::testing::assert_reported;
    use super::*;

    /// Operators and operands with all parentheses written out.
    fn shape(source: &str, expr: &Expr<'_>) -> String {
        match expr {
            Expr::Logic(operator, operands) => {
                let operands: Vec<_> = operands.iter().map(|o| shape(source, o)).collect();
                format!("({operator:?} {})", operands.join(" "))
            }
            Expr::Not(_, operand) => format!("(Not {})", shape(source, operand)),
            other => other.span().text(source).to_owned(),
        }
    }

    #[test]
    fn operators_bind_in_the_order_not_and_xor_or() {
        for (source, expected) in [
            ("a", "a"),
            ("((a))", "a"),
            ("a or b or c", "(Or a b c)"),
            ("a or b and c", "(Or a (And b c))"),
            ("a and b or c", "(Or (And a b) c)"),
            ("a or b xor c", "(Or a (Xor b c))"),
            ("a xor b and c", "(Xor a (And b c))"),
            ("a || b ^^ c && d", "(Or a (Xor b (And c d)))"),
            ("not a and b", "(And (Not a) b)"),
            ("not not a", "(Not (Not a))"),
            ("!a || !b", "(Or (Not a) (Not b))"),
            ("(a or b) and c", "(And (Or a b) c)"),
            ("not (a or b)", "(Not (Or a b))"),
            ("not a eq 1", "(Not a eq 1)"),
            ("a eq 1 and b in {1 2..3}", "(And a eq 1 b in {1 2..3})"),
            ("any(a[*] eq 1 or b) or c", "(Or any(a[*] eq 1 or b) c)"),
            ("a[\"k\"][0] eq 1", "a[\"k\"][0] eq 1"),
        ] {
            assert_eq!(shape(source, &parse(source).unwrap()), expected, "{source}");
        }
    }

    #[test]
    fn unexpected_tokens_are_shown_in_place() {
        assert_reported(&[
            ("", "", "the expression is empty", "`true`"),
            ("  ", "", "the expression is empty", "`true`"),
            (
                "ssl and",
                "",
                "expected a field, a function or `(`, found the end",
                "",
            ),
            (
                "and ssl",
                "and",
                "expected a field, a function or `(`, found `and`",
                "",
            ),
            ("(ssl", "", "expected `)`, found the end", ""),
            (
                "ssl)",
                ")",
                "expected `and`, `or`, `xor` or the end of the expression, found `)`",
                "",
            ),
            ("(ssl) ssl", "ssl", "expected `and`, `or`, `xor`", ""),
            ("x[a]", "a", "expected a quoted key, a position or `*`", ""),
            ("x[-1]", "-1", "expected a position from 0 up", ""),
            ("x[0", "", "expected `]`", ""),
            ("len(x", "", "expected `,` or `)`", ""),
            ("len(x,)", ")", "expected a field, a function", ""),
        ]);
    }

    #[test]
    fn mistaken_values_are_explained() {
        assert_reported(&[
            ("http.host eq", "", "expected a value, found the end", ""),
            (
                "http.host eq example.com",
                "example.com",
                "expected a value, found `example.com`",
                "`\"example.com\"`",
            ),
            (
                "http.host eq my-host",
                "my-host",
                "expected a value",
                "`\"my-host\"`",
            ),
            (
                "http.host eq http.referer",
                "http.referer",
                "expected a value",
                "two fields",
            ),
            (
                "http.host eq $hosts",
                "$hosts",
                "expected a value, found `$hosts`",
                "`http.host in $hosts`",
            ),
            (
                "http.host eq {\"a\"}",
                "{",
                "expected a value, found `{`",
                "only `in` takes a set: `http.host in {…}`",
            ),
            (
                "http.host in \"a\"",
                "\"a\"",
                "expected a set in braces",
                "`http.host in {\"a\"}`",
            ),
            (
                "ip.src in 10.0.0.0/8",
                "10.0.0.0/8",
                "expected a set in braces",
                "`ip.src in {10.0.0.0/8}`",
            ),
            (
                "http.host in {\"a\", \"b\"}",
                ",",
                "unexpected `,` in a set",
                "separated by spaces",
            ),
            ("http.host in {}", "{}", "the set is empty", "`false`"),
            (
                "http.host in {a}",
                "a",
                "expected a value, found `a`",
                "double quotes",
            ),
            (
                "http.host in {\"a\"",
                "",
                "expected a value or `}`, found the end",
                "",
            ),
        ]);
    }

    #[test]
    fn mistaken_operators_are_explained() {
        assert_reported(&[
            ("ssl ssl", "ssl", "unknown operator `ssl`", ""),
            (
                "http.host startswith \"a\"",
                "startswith",
                "unknown operator",
                "`starts_with(http.host, \"…\")`",
            ),
            (
                "http.host ends_with \"a\"",
                "ends_with",
                "unknown operator",
                "`ends_with(http.host, \"…\")`",
            ),
            (
                "http.host equals \"a\"",
                "equals",
                "unknown operator",
                "did you mean `eq`?",
            ),
            (
                "http.host contain \"a\"",
                "contain",
                "unknown operator",
                "did you mean `contains`?",
            ),
            (
                "http.host EQ \"a\"",
                "EQ",
                "unknown operator",
                "did you mean `eq`?",
            ),
            (
                "ssl AND ssl",
                "AND",
                "unknown operator",
                "did you mean `and`?",
            ),
            (
                "http.host like \"a\"",
                "like",
                "unknown operator",
                "did you mean `wildcard`?",
            ),
            (
                "http.host not in {\"a\"}",
                "not",
                "expected an operator",
                "`not http.host in {…}`",
            ),
            (
                "http.host not eq \"a\"",
                "not",
                "expected an operator",
                "`not http.host …`",
            ),
        ]);
    }

    #[test]
    fn the_first_mistake_is_told_whether_lexical_or_not() {
        assert_reported(&[
            (
                "ssl startswith 'a'",
                "startswith",
                "unknown operator",
                "starts_with",
            ),
            ("(http.host = 'a'", "=", "not an operator", "`==`"),
            ("ssl and é", "é", "unexpected character", "double quotes"),
            ("é", "é", "unexpected character", "double quotes"),
        ]);
    }

    #[test]
    fn nesting_is_bounded_but_chains_are_not() {
        for (open, close) in [("(", ")"), ("not ", ""), ("f(", ")")] {
            let nest = |depth| open.repeat(depth) + "ssl" + &close.repeat(depth);
            assert!(parse(&nest(MAX_DEPTH)).is_ok(), "{open}");
            let error = parse(&nest(MAX_DEPTH + 1)).unwrap_err();
            assert!(error.message.contains("64 levels"), "{error}");
        }
        assert!(parse(&("ssl".to_owned() + &" or ssl".repeat(1000))).is_ok());
    }
}
