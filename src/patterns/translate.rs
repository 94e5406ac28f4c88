//! One pattern: Java's regular expression, rewritten so that it means the same in linear time, or refused with its place.
//!
//! Both engines read much the same text and mean different things by some of it: `\d` is ten digits to Java and some hundreds here, `a*+` is
//! possessive there and a repetition of a repetition here, `(?i)` folds ASCII only there. So a pattern is not handed on: it is parsed, and
//! written anew with constructs whose meaning is one. What has none such is refused, never guessed.
//!
//! Of the whole name Java's `matches()` is asked, so the pattern stands between `\A` and `\z`. Java's `$` also matches before a line break at
//! the end, which no whole match can end with; so at the worst a name with a line break in it is not taken.

use std::fmt::Write as _;

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassBracketed, ClassPerl, ClassPerlKind, ClassSet, ClassSetItem, ErrorKind, Flag, Flags, FlagsItemKind, GroupKind,
    LiteralKind, RepetitionKind, RepetitionRange, Span, SpecialLiteralKind,
};

/// Characters of one pattern.
const LONGEST: usize = 1_000;
/// Groups within groups.
const DEEPEST: u32 = 50;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The character where it is wrong, from 1; 0: as a whole.
    pub at: usize,
    /// In words; none of the pattern's own text but its signs.
    pub why: String,
}

/// Everything but Java's line breaks, which its dot leaves out.
const DOT: &str = r"[^\n\r\x{85}\x{2028}\x{2029}]";

/// The same for the engine used here, to be matched against a whole name.
///
/// # Errors
/// [`Fault`]: it has a construct that cannot be had in linear time, or that would mean something else here.
pub(super) fn translate(pattern: &str) -> Result<String, Fault> {
    if pattern.chars().count() > LONGEST {
        return Err(Fault { at: 0, why: format!("is longer than {LONGEST} characters") });
    }
    let ast = ParserBuilder::new().nest_limit(DEEPEST).build().parse(pattern).map_err(|e| unparsed(pattern, e.kind(), e.span()))?;
    let mut writer = Writer { pattern, out: String::from(r"\A(?:"), fold: false };
    writer.write(&ast)?;
    writer.out.push_str(r")\z");
    Ok(writer.out)
}

/// The character at which a span begins, from 1.
fn place(pattern: &str, span: &Span) -> usize {
    pattern.get(..span.start.offset).map_or(0, |before| before.chars().count()) + 1
}

const LOOK_AROUND: &str = "looks around (?=, ?!, ?<=, ?<!), which takes more than linear time: write what is to match";
const BACK_REFERENCE: &str = "refers back to a group, which takes more than linear time: write what is to match";
const ATOMIC: &str = "is an atomic group, which is not built: write it without ?>";

/// What the parser did not take.
fn unparsed(pattern: &str, kind: &ErrorKind, span: &Span) -> Fault {
    let after = |back: usize, text: &str| {
        let start = span.start.offset.saturating_sub(back);
        pattern.get(start..).is_some_and(|rest| rest.starts_with(text))
    };
    let escaped = pattern.get(span.start.offset..span.end.offset).and_then(|s| s.chars().nth(1));
    let why = match kind {
        ErrorKind::UnsupportedLookAround => LOOK_AROUND.to_owned(),
        ErrorKind::UnsupportedBackreference => BACK_REFERENCE.to_owned(),
        ErrorKind::EscapeUnrecognized if escaped == Some('k') => BACK_REFERENCE.to_owned(),
        ErrorKind::FlagUnrecognized if after(2, "(?>") => ATOMIC.to_owned(),
        ErrorKind::EscapeUnrecognized => match escaped {
            Some(c) if c.is_ascii_alphanumeric() => format!("\\{c} is not built: write the characters that it stands for"),
            _ => "escapes what needs no escape: write it without the backslash".to_owned(),
        },
        kind => kind.to_string(),
    };
    Fault { at: place(pattern, span), why }
}

struct Writer<'p> {
    pattern: &'p str,
    out: String,
    /// `(?i)` counts here: Java's, which folds the letters of ASCII and no others.
    fold: bool,
}

impl Writer<'_> {
    fn refuse<T>(&self, span: &Span, why: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { at: place(self.pattern, span), why: why.into() })
    }

    fn write(&mut self, ast: &Ast) -> Result<(), Fault> {
        match ast {
            Ast::Empty(_) => {}
            Ast::Flags(set) => self.fold = self.flags(&set.flags)?,
            Ast::Literal(l) => {
                self.literal(&l.kind, &l.span)?;
                match other_case(l.c).filter(|_| self.fold) {
                    Some(other) => self.put(format_args!(r"[\x{{{:x}}}\x{{{:x}}}]", u32::from(l.c), u32::from(other))),
                    None => self.character(l.c),
                }
            }
            Ast::Dot(_) => self.out.push_str(DOT),
            Ast::Assertion(a) => match a.kind {
                AssertionKind::StartLine | AssertionKind::StartText => self.out.push_str(r"\A"),
                AssertionKind::EndLine | AssertionKind::EndText => self.out.push_str(r"\z"),
                AssertionKind::WordBoundaryStartAngle | AssertionKind::WordBoundaryEndAngle => {
                    return self.refuse(&a.span, "escapes what needs no escape: write it without the backslash");
                }
                _ => return self.refuse(&a.span, "is a word's boundary, which Java's releases read differently: write the characters"),
            },
            Ast::ClassUnicode(c) => return self.refuse(&c.span, PROPERTY),
            Ast::ClassPerl(c) => self.out.push_str(perl(c)),
            Ast::ClassBracketed(c) => self.class(c)?,
            Ast::Repetition(r) => {
                if matches!(*r.ast, Ast::Repetition(_)) {
                    return self.refuse(&r.op.span, "is a possessive repetition to Java (*+, ++, ?+), or none at all: write a single one");
                }
                self.out.push_str("(?:");
                self.write(&r.ast)?;
                self.out.push(')');
                match &r.op.kind {
                    RepetitionKind::ZeroOrOne => self.out.push('?'),
                    RepetitionKind::ZeroOrMore => self.out.push('*'),
                    RepetitionKind::OneOrMore => self.out.push('+'),
                    RepetitionKind::Range(RepetitionRange::Exactly(n)) => self.put(format_args!("{{{n}}}")),
                    RepetitionKind::Range(RepetitionRange::AtLeast(n)) => self.put(format_args!("{{{n},}}")),
                    RepetitionKind::Range(RepetitionRange::Bounded(n, m)) => self.put(format_args!("{{{n},{m}}}")),
                }
            }
            Ast::Group(g) => {
                let outside = self.fold;
                if let GroupKind::NonCapturing(flags) = &g.kind {
                    self.fold = self.flags(flags)?;
                }
                self.out.push_str("(?:");
                self.write(&g.ast)?;
                self.out.push(')');
                self.fold = outside;
            }
            Ast::Alternation(a) => {
                for (i, one) in a.asts.iter().enumerate() {
                    if i > 0 {
                        self.out.push('|');
                    }
                    self.write(one)?;
                }
            }
            Ast::Concat(c) => c.asts.iter().try_for_each(|one| self.write(one))?,
        }
        Ok(())
    }

    fn flags(&self, flags: &Flags) -> Result<bool, Fault> {
        let (mut fold, mut on) = (self.fold, true);
        for item in &flags.items {
            match item.kind {
                FlagsItemKind::Negation => on = false,
                FlagsItemKind::Flag(Flag::CaseInsensitive) => fold = on,
                FlagsItemKind::Flag(_) => return self.refuse(&item.span, "is a flag that is not built: of the flags only i is"),
            }
        }
        Ok(fold)
    }

    /// Whether a literal is one to Java too.
    fn literal(&self, kind: &LiteralKind, span: &Span) -> Result<(), Fault> {
        match kind {
            LiteralKind::Special(SpecialLiteralKind::VerticalTab) => {
                self.refuse(span, r"\v is a whole class of characters to Java: write \x0B for the one")
            }
            _ => Ok(()),
        }
    }

    /// In brackets: characters, ranges, `\d`, `\s`, `\w`. The other things that may stand there are read differently by the two engines, or
    /// by Java's releases.
    fn class(&mut self, class: &ClassBracketed) -> Result<(), Fault> {
        self.out.push_str(if class.negated { "[^" } else { "[" });
        match &class.kind {
            ClassSet::Item(item) => self.item(item)?,
            ClassSet::BinaryOp(op) => return self.refuse(&op.span, "is an operation on classes (&&, --, ~~), which is not built"),
        }
        self.out.push(']');
        Ok(())
    }

    fn item(&mut self, item: &ClassSetItem) -> Result<(), Fault> {
        match item {
            ClassSetItem::Empty(_) => {}
            ClassSetItem::Literal(l) => {
                self.literal(&l.kind, &l.span)?;
                self.character(l.c);
                if let Some(other) = other_case(l.c).filter(|_| self.fold) {
                    self.character(other);
                }
            }
            ClassSetItem::Range(r) => {
                self.literal(&r.start.kind, &r.span)?;
                self.literal(&r.end.kind, &r.span)?;
                self.range(r.start.c, r.end.c);
                if self.fold {
                    for (first, last) in [('a', 'z'), ('A', 'Z')] {
                        let (from, to) = (r.start.c.max(first), r.end.c.min(last));
                        if let (true, Some(from), Some(to)) = (from <= to, other_case(from), other_case(to)) {
                            self.range(from, to);
                        }
                    }
                }
            }
            ClassSetItem::Perl(c) => self.out.push_str(perl(c)),
            ClassSetItem::Union(u) => u.items.iter().try_for_each(|one| self.item(one))?,
            ClassSetItem::Ascii(c) => return self.refuse(&c.span, "is a class by name, which Java does not know: write the characters"),
            ClassSetItem::Unicode(c) => return self.refuse(&c.span, PROPERTY),
            ClassSetItem::Bracketed(c) => {
                return self.refuse(&c.span, "is a class within a class, which is not built: write it into the outer one");
            }
        }
        Ok(())
    }

    fn range(&mut self, from: char, to: char) {
        self.put(format_args!(r"\x{{{:x}}}-\x{{{:x}}}", u32::from(from), u32::from(to)));
    }

    fn character(&mut self, c: char) {
        self.put(format_args!(r"\x{{{:x}}}", u32::from(c)));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text);
    }
}

const PROPERTY: &str = "is a property of Unicode, which Java reads otherwise: write the characters";

fn other_case(c: char) -> Option<char> {
    if c.is_ascii_lowercase() {
        Some(c.to_ascii_uppercase())
    } else if c.is_ascii_uppercase() {
        Some(c.to_ascii_lowercase())
    } else {
        None
    }
}

/// As Java has them: of ASCII only.
fn perl(class: &ClassPerl) -> &'static str {
    match (&class.kind, class.negated) {
        (ClassPerlKind::Digit, false) => "[0-9]",
        (ClassPerlKind::Digit, true) => "[^0-9]",
        (ClassPerlKind::Space, false) => r"[\x20\t\n\x0B\x0C\r]",
        (ClassPerlKind::Space, true) => r"[^\x20\t\n\x0B\x0C\r]",
        (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
        (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
    }
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
