//! The paths that a file's text writes: `use`, re-exports and inline paths alike, tests left out.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path of the own crate, without what stands before its first module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) names: Vec<String>,
    pub(crate) line: usize,
}

/// What stands in one file.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) written: Vec<Written>,
    /// Modules in files of their own that are compiled for tests only.
    pub(crate) test_modules: Vec<Vec<String>>,
}

/// Reads the tokens of the file of `module`. `own_name` is the crate as its programs name it.
pub(crate) fn read(tokens: TokenStream, module: &[String], own_name: &str) -> Text {
    let mut reader = Reader { own_name, text: Text::default() };
    reader.walk(tokens, module);
    reader.text
}

struct Reader<'a> {
    own_name: &'a str,
    text: Text,
}

impl Reader<'_> {
    fn walk(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at, module);
        }
    }

    /// Reads what begins at a token; where to go on.
    fn step(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => match tokens.get(at + 1) {
                Some(TokenTree::Group(attribute)) if is_for_tests(attribute) => {
                    self.skip_test(&tokens[at + 2..], module) + at + 2
                }
                _ => at + 1,
            },
            TokenTree::Group(group) => {
                self.walk(group.stream(), module);
                at + 1
            }
            TokenTree::Ident(ident) if ident == "mod" => match &tokens[at + 1..] {
                [TokenTree::Ident(name), TokenTree::Group(body), ..] => {
                    self.walk(body.stream(), &[module, &[name.to_string()]].concat());
                    at + 3
                }
                _ => at + 1,
            },
            TokenTree::Ident(ident) if ident == "use" => {
                let end = at + tokens[at..].iter().take_while(|token| !is_punct(token, ';')).count();
                self.use_tree(&tokens[at + 1..end], module, None);
                end
            }
            TokenTree::Ident(_) => self.inline(tokens, at, module),
            _ => at + 1,
        }
    }

    /// A path in the middle of code. What a module calls its own children needs no look: they are in its room.
    fn inline(&mut self, tokens: &[TokenTree], at: usize, module: &[String]) -> usize {
        let (names, end) = segments(tokens, at);
        let starts_path = at < 2 || !(is_punct(&tokens[at - 1], ':') && is_punct(&tokens[at - 2], ':'));
        if starts_path
            && names.len() > 1
            && let Some(names) = self.absolute(&names, module)
        {
            self.text.written.push(Written { names, line: line(&tokens[at]) });
        }
        end
    }

    /// `before` is what an outer brace has said; none at the start of the whole.
    fn use_tree(&mut self, tokens: &[TokenTree], module: &[String], before: Option<&[String]>) {
        for branch in tokens.split(|token| is_punct(token, ',')) {
            let Some(first) = branch.first() else { continue };
            let (names, end) = segments(branch, 0);
            let whole = match before {
                Some(before) => [before, &names].concat(),
                None => self.absolute(&names, module).unwrap_or_else(|| [module, &names].concat()),
            };
            let rest = if names.is_empty() { branch } else { branch.get(end..).unwrap_or_default() };
            match rest.iter().find_map(as_brace) {
                Some(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    // A tree that begins with its brace has said nothing yet.
                    let said = (!names.is_empty() || before.is_some()).then_some(whole.as_slice());
                    self.use_tree(&inner, module, said);
                }
                None => self.text.written.push(Written { names: whole, line: line(first) }),
            }
        }
    }

    /// The path from the crate's root, where it says `crate`, `self`, `super` or the crate's own name.
    fn absolute(&self, names: &[String], module: &[String]) -> Option<Vec<String>> {
        let (first, rest) = names.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            name if name == self.own_name => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let ups = names.iter().take_while(|name| *name == "super").count();
                let from = &module[..module.len().saturating_sub(ups)];
                Some([from, &names[ups..]].concat())
            }
            _ => None,
        }
    }

    /// How many tokens the item after `#[cfg(test)]` has.
    fn skip_test(&mut self, tokens: &[TokenTree], module: &[String]) -> usize {
        let ends = |token: &TokenTree| is_punct(token, ';') || as_brace(token).is_some();
        let item = tokens.iter().position(ends).map_or(tokens.len(), |end| end + 1);
        let names = tokens[..item].windows(2);
        for pair in names {
            if let [TokenTree::Ident(word), TokenTree::Ident(name)] = pair
                && word == "mod"
            {
                self.text.test_modules.push([module, &[name.to_string()]].concat());
            }
        }
        item
    }
}

/// The names of the path that begins at a token, and where it ends.
fn segments(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    let mut end = at;
    // `::std` begins with colons.
    while tokens.get(end).is_some_and(|token| is_punct(token, ':')) {
        end += 1;
    }
    while let Some(TokenTree::Ident(name)) = tokens.get(end) {
        names.push(name.to_string());
        end += 1;
        match tokens.get(end..end + 2) {
            Some([first, second]) if is_punct(first, ':') && is_punct(second, ':') => end += 2,
            _ => break,
        }
    }
    (names, end.max(at + 1))
}

fn is_for_tests(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn as_brace(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|name| (*name).to_owned()).collect();
        let text = read(text.parse().expect("tokens"), &module, "pictor_house");
        text.written.iter().map(|written| written.names.join("::")).collect()
    }

    #[test]
    fn a_use_of_every_form_is_read() {
        assert_eq!(written("use crate::a::{B, c::{D, self}};", &["x"]), ["a::B", "a::c::D", "a::c::self"]);
        assert_eq!(written("pub(crate) use super::b::C as D;", &["x", "y"]), ["x::b::C"]);
        assert_eq!(written("use super::super::b;", &["x", "y"]), ["b"]);
        assert_eq!(written("use {crate::a::B, std::fs};", &["x"]), ["a::B", "x::std::fs"]);
        assert_eq!(written("pub use pictor_house::a::*;", &[]), ["a"]);
    }

    #[test]
    fn inline_paths_are_read_wherever_they_stand() {
        assert_eq!(
            written("fn f(b: crate::a::B) -> u8 { g(|| super::c::d::<u8>()) }", &["x"]),
            ["a::B", "c::d"]
        );
        assert_eq!(written("fn f() { println!(\"{}\", crate::a::B); }", &["x"]), ["a::B"]);
        assert_eq!(written("mod inner { fn f() { super::super::a::b() } }", &["x"]), ["a::b"]);
        assert_eq!(written("fn f(self) { self.x; other::crate_like() }", &["x"]), Vec::<String>::new());
    }

    #[test]
    fn tests_are_left_out() {
        assert_eq!(written("#[cfg(test)] mod tests { use crate::a::B; } use crate::c;", &["x"]), ["c"]);
        assert_eq!(written("#[cfg(test)] use crate::a::B; fn f() { crate::c::d() }", &["x"]), ["c::d"]);
        let text =
            read("#[cfg(test)] pub(crate) mod tests;".parse().expect("tokens"), &["x".to_owned()], "h");
        assert_eq!(text.test_modules, [["x".to_owned(), "tests".to_owned()]]);
    }
}
