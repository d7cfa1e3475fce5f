//! Characters as Python sees them.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

/// Returns true if `str.split()` splits at the character: Unicode's white space and U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Splits as `str.split()` does.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|token| !token.is_empty())
}

/// Returns true if `\w` matches the character: letters, numbers and `_`, but no combining marks.
pub fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    is_in(c, GeneralCategoryGroup::Letter) || is_in(c, GeneralCategoryGroup::Number)
}

/// Returns true for Unicode's punctuation.
pub fn is_punctuation(c: char) -> bool {
    is_in(c, GeneralCategoryGroup::Punctuation)
}

/// Returns true for Unicode's symbols.
pub fn is_symbol(c: char) -> bool {
    is_in(c, GeneralCategoryGroup::Symbol)
}

/// Returns true for Unicode's numbers.
pub fn is_number(c: char) -> bool {
    is_in(c, GeneralCategoryGroup::Number)
}

/// Returns true for Unicode's combining marks.
pub fn is_mark(c: char) -> bool {
    is_in(c, GeneralCategoryGroup::Mark)
}

fn is_in(c: char, group: GeneralCategoryGroup) -> bool {
    group.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

/// Puts spaces around every Chinese and Japanese character, so that text written without spaces becomes words of one
/// character.
pub fn east_asian_apart(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_apart = matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}');
        if is_apart {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}
