//! Porter's stemmer (1980) with the extensions of NLTK's `PorterStemmer` in its default mode, which is the stemmer of
//! ROUGE. It is neither Snowball's English stemmer nor Porter's original.

/// Words whose stems follow no rule.
const IRREGULAR: &[(&str, &str)] = &[
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffixes of step 2, each with its replacement; they are replaced if the measure of what stands before them is above
/// 0.
const STEP2: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
    ("logi", "log"),
];

const STEP3: &[(&str, &str)] =
    &[("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Suffixes of step 4; they are dropped if the measure of what stands before them is above 1.
const STEP4: &[&str] = &[
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// Returns the stem of a word, in lower case.
pub fn stem(word: &str) -> String {
    let lower = word.to_lowercase();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == lower) {
        return (*stem).to_owned();
    }
    if word.chars().count() <= 2 {
        return lower;
    }
    let mut stem: Vec<char> = lower.chars().collect();
    step1a(&mut stem);
    step1b(&mut stem);
    if ends(&stem, "y") && stem.len() > 2 && is_consonant(&stem[..stem.len() - 1], stem.len() - 2) {
        replace(&mut stem, 1, "i");
    }
    step2(&mut stem);
    if let Some((suffix, to)) = STEP3.iter().find(|(suffix, _)| ends(&stem, suffix))
        && measure(before(&stem, suffix)) > 0
    {
        replace(&mut stem, suffix.len(), to);
    }
    step4(&mut stem);
    if ends(&stem, "e") {
        let head = before(&stem, "e");
        if measure(head) > 1 || measure(head) == 1 && !ends_cvc(head) {
            stem.pop();
        }
    }
    if ends(&stem, "ll") && measure(&stem[..stem.len() - 1]) > 1 {
        stem.pop();
    }
    stem.into_iter().collect()
}

fn step1a(stem: &mut Vec<char>) {
    if ends(stem, "ies") {
        let kept = if stem.len() == 4 { "ie" } else { "i" };
        replace(stem, 3, kept);
    } else if ends(stem, "sses") {
        replace(stem, 2, "");
    } else if ends(stem, "s") && !ends(stem, "ss") {
        stem.pop();
    }
}

fn step1b(stem: &mut Vec<char>) {
    if ends(stem, "ied") {
        let kept = if stem.len() == 4 { "ie" } else { "i" };
        return replace(stem, 3, kept);
    }
    if ends(stem, "eed") {
        if measure(before(stem, "eed")) > 0 {
            stem.pop();
        }
        return;
    }
    let has_vowel = |head: &[char]| (0..head.len()).any(|i| !is_consonant(head, i));
    let Some(suffix) = ["ed", "ing"].into_iter().find(|suffix| ends(stem, suffix) && has_vowel(before(stem, suffix)))
    else {
        return;
    };
    replace(stem, suffix.len(), "");
    if ["at", "bl", "iz"].iter().any(|end| ends(stem, end)) {
        stem.push('e');
    } else if let [.., a, b] = stem[..]
        && a == b
        && is_consonant(stem, stem.len() - 1)
    {
        if !matches!(b, 'l' | 's' | 'z') {
            stem.pop();
        }
    } else if measure(stem) == 1 && ends_cvc(stem) {
        stem.push('e');
    }
}

fn step2(stem: &mut Vec<char>) {
    if ends(stem, "alli") && measure(before(stem, "alli")) > 0 {
        replace(stem, 4, "al");
        return step2(stem);
    }
    if let Some((suffix, to)) = STEP2.iter().find(|(suffix, _)| ends(stem, suffix)) {
        // For `logi`, the measure includes the `log` that stays, not only what stands before it.
        let head = if *suffix == "logi" { &stem[..stem.len() - 3] } else { before(stem, suffix) };
        if measure(head) > 0 {
            replace(stem, suffix.len(), to);
        }
    }
}

fn step4(stem: &mut Vec<char>) {
    if let Some(suffix) = STEP4.iter().find(|suffix| ends(stem, suffix)) {
        let head = before(stem, suffix);
        if measure(head) > 1 && (*suffix != "ion" || matches!(head.last(), Some('s' | 't'))) {
            stem.truncate(stem.len() - suffix.len());
        }
    }
}

fn ends(word: &[char], suffix: &str) -> bool {
    word.len() >= suffix.len() && suffix.chars().rev().zip(word.iter().rev()).all(|(a, b)| a == *b)
}

/// Returns the part of a word before an ASCII suffix.
fn before<'a>(word: &'a [char], suffix: &str) -> &'a [char] {
    &word[..word.len() - suffix.len()]
}

fn replace(word: &mut Vec<char>, drop: usize, with: &str) {
    word.truncate(word.len() - drop);
    word.extend(with.chars());
}

/// Returns true if the i-th character is a consonant; a `y` is one unless a consonant precedes it.
fn is_consonant(word: &[char], i: usize) -> bool {
    match word[i] {
        'a' | 'e' | 'i' | 'o' | 'u' => false,
        'y' => {
            let run = word[..=i].iter().rev().take_while(|c| **c == 'y').count();
            let first = i + 1 - run;
            // In a run of `y`, the first is a consonant at the start of the word and after a vowel; then they
            // alternate.
            let is_first = first == 0 || matches!(word[first - 1], 'a' | 'e' | 'i' | 'o' | 'u');
            is_first == (run % 2 == 1)
        }
        _ => true,
    }
}

/// Returns how often a vowel is followed by a consonant.
fn measure(word: &[char]) -> usize {
    let mut was_vowel = false;
    let mut count = 0;
    let mut was_consonant = false;
    for (i, c) in word.iter().enumerate() {
        let is_consonant = match c {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => i == 0 || !was_consonant,
            _ => true,
        };
        count += usize::from(was_vowel && is_consonant);
        (was_vowel, was_consonant) = (!is_consonant, is_consonant);
    }
    count
}

/// Returns true if the word ends in consonant, vowel, consonant, and the last is not w, x or y; or if it has two
/// letters, a vowel and a consonant.
fn ends_cvc(word: &[char]) -> bool {
    let n = word.len();
    let consonant = |i: usize| is_consonant(word, i);
    match n {
        0 | 1 => false,
        2 => !consonant(0) && consonant(1),
        _ => consonant(n - 3) && !consonant(n - 2) && consonant(n - 1) && !matches!(word[n - 1], 'w' | 'x' | 'y'),
    }
}
