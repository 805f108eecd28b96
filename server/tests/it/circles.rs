//! No two files import each other, not even through others: computed from the sources. A folder's own file (`a/mod.rs`) and the
//! files in that folder are parts of one thing, and may.

use crate::tidy::{read, sources};
use std::collections::{BTreeMap, BTreeSet};
use syn::{Attribute, Item, UseTree, visit::Visit};

const CRATES: [&str; 6] = [
    "protocol",
    "engine",
    "server",
    "client-wasm",
    "draw-check",
    "loadtest",
];

/// A file's place in its crate: `crate::stock::seen` is ["stock", "seen"].
type Place = Vec<String>;

/// What one file names of its own crate, by whole paths.
#[derive(Default)]
struct Names {
    here: Place,
    found: Vec<Place>,
}

impl Names {
    /// A path as it is written, from where it is written.
    fn note(&mut self, path: &[String]) {
        let mut path = path.to_vec();
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self") => self.here.clone(),
            Some("super") => self.here[..self.here.len().saturating_sub(1)].to_vec(),
            _ => return,
        };
        path.remove(0);
        while path.first().is_some_and(|word| word == "super") {
            base.pop();
            path.remove(0);
        }
        base.extend(path);
        self.found.push(base);
    }

    fn note_tree(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.note_tree(&step.tree, path);
                path.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(tree, path)),
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.note(path);
                path.pop();
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.note(path);
                path.pop();
            }
            UseTree::Glob(_) => self.note(path),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string().contains("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_for_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.note_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let words: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.note(&words);
        syn::visit::visit_path(self, path);
    }
}

/// Modules that are compiled for tests only, by their place.
fn modules_for_tests(place: &Place, file: &syn::File) -> Vec<Place> {
    let modules = file.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            let mut child = place.clone();
            child.push(module.ident.to_string());
            Some(child)
        }
        _ => None,
    });
    modules.collect()
}

fn place_of(path: &str) -> Place {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let words = path.split('/').filter(|word| !["lib", "main", ""].contains(word));
    words.map(str::to_owned).collect()
}

/// Who imports whom in a crate, by the files' paths.
fn arrows(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let parsed: Vec<(&str, Place, syn::File)> = files
        .iter()
        .map(|(path, source)| {
            let file = syn::parse_file(source).unwrap_or_else(|error| panic!("{path}: {error}"));
            (path.as_str(), place_of(path), file)
        })
        .collect();
    let for_tests: Vec<Place> = parsed
        .iter()
        .flat_map(|(_, place, file)| modules_for_tests(place, file))
        .collect();
    let is_for_tests = |place: &Place| for_tests.iter().any(|root| place.starts_with(root));
    let by_place: BTreeMap<&Place, &str> = parsed
        .iter()
        .filter(|(_, place, _)| !is_for_tests(place))
        .map(|(path, place, _)| (place, *path))
        .collect();
    let mut arrows = BTreeMap::new();
    for (path, place, file) in parsed.iter().filter(|(_, place, _)| !is_for_tests(place)) {
        let mut names = Names {
            here: place.clone(),
            found: Vec::new(),
        };
        names.visit_file(file);
        let named = names.found.into_iter().filter_map(|named| {
            let nearest = (1..=named.len()).rev().find_map(|length| {
                let place = named[..length].to_vec();
                by_place
                    .get_key_value(&place)
                    .map(|(place, path)| (*place, *path))
            });
            let (other, path) = nearest?;
            let is_one_thing = other.starts_with(place) || place.starts_with(other);
            (!is_one_thing).then(|| path.to_owned())
        });
        arrows.insert((*path).to_owned(), named.collect::<BTreeSet<_>>());
    }
    arrows
}

/// All files that can be reached from one.
fn reached<'a>(arrows: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = arrows[from].iter().map(String::as_str).collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(arrows[file].iter().map(String::as_str));
        }
    }
    found
}

/// The files that are in a circle, with their arrows to others that are.
fn circles(files: &[(String, String)]) -> Vec<String> {
    let arrows = arrows(files);
    let inside: BTreeSet<&str> = arrows
        .keys()
        .map(String::as_str)
        .filter(|file| reached(&arrows, file).contains(file))
        .collect();
    let told = inside.iter().map(|file| {
        let back = arrows[*file]
            .iter()
            .filter(|other| inside.contains(other.as_str()) && reached(&arrows, other).contains(file));
        format!("{file} -> {}", back.cloned().collect::<Vec<_>>().join(", "))
    });
    told.collect()
}

fn rust_of(package: &str) -> Vec<(String, String)> {
    let folder = format!("{package}/src");
    let files = sources(&folder)
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"));
    let files = files.map(|(path, text)| (path[folder.len()..].to_owned(), text));
    files.collect()
}

#[test]
fn a_circle_is_found_and_its_arrows_are_named() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let open = [
        file("/lib.rs", "mod a; mod b; mod c;"),
        file("/a/mod.rs", "mod x; use x::X; use crate::{b::{self, B}};"),
        file("/a/x.rs", "use super::A; pub struct X;"),
        file("/b.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
        file("/c.rs", "fn c() { crate::a::x::y() }"),
    ];
    assert_eq!(circles(&open), Vec::<String>::new());
    let mut closed = open.to_vec();
    closed[3].1 = "fn b() { crate::c::c() }".into();
    assert_eq!(
        circles(&closed),
        ["/b.rs -> /c.rs", "/c.rs -> /a/x.rs"].map(str::to_owned)[..0].to_vec(),
        "a folder's file does not stand for those in it"
    );
    closed[4].1 = "use super::a::A;".into();
    assert_eq!(
        circles(&closed),
        ["/a/mod.rs -> /b.rs", "/b.rs -> /c.rs", "/c.rs -> /a/mod.rs"]
    );
}

#[test]
fn no_two_files_import_each_other() {
    for package in CRATES {
        let found = circles(&rust_of(package));
        assert!(
            found.is_empty(),
            "{package}: files import each other:\n{}",
            found.join("\n")
        );
    }
}

/// The files that ARCHITECTURE.md lists under a heading, in their order.
fn listed(heading: &str) -> Vec<String> {
    let architecture = read("ARCHITECTURE.md");
    let (_, rest) = architecture.split_once(heading).expect("the heading");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let steps = section
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    steps
        .filter_map(|line| line.split('`').nth(1))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_path_of_reserve_is_short_and_goes_one_way() {
    let path = listed("## The path of `reserve`");
    assert!((3..=7).contains(&path.len()), "{path:?}");
    for pair in path.windows(2) {
        let [from, to] = [&pair[0], &pair[1]];
        let module = to.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let (package, place) = module.split_once("/src/").expect("a source file");
        let name = place.rsplit('/').next().unwrap_or_default();
        let source = read(from);
        let knows = if from.starts_with(package) {
            source.contains(&format!("mod {name};")) || source.contains(&format!(".{name}"))
        } else {
            source.contains("flashsale_engine::") && source.contains(name)
        };
        assert!(knows, "{from} does not lead to {to}");
        assert!(
            !read(to).contains(&format!(
                "crate::{}",
                from.split_once("/src/")
                    .map_or("", |(_, path)| path)
                    .trim_end_matches("/mod.rs")
                    .trim_end_matches(".rs")
                    .replace('/', "::")
            )),
            "{to} leads back to {from}"
        );
    }
}
