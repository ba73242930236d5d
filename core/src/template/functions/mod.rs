//! The functions of templates: Go's builtins and those of sprig that users of External Secrets use,
//! with the semantics of sprig v3 unless a comment says otherwise. Functions that panic in Go fail
//! here; so do `b64dec` and `fromJson`, which hide their errors there.

#![allow(clippy::unnecessary_wraps, reason = "all functions have one signature")]

mod certificates;
mod encoding;
mod lists;
mod logic;
mod numbers;
mod printing;
mod text;

use gtmpl_ng::{Func, FuncError, Value, funcs};

use super::budget;

type Result<T> = std::result::Result<T, FuncError>;

macro_rules! bounded {
    ($($name:literal => $function:path,)+) => {
        [$(($name, {
            fn call(args: &[Value]) -> Result<Value> {
                budget::call($function, args)
            }
            call as Func
        }),)+]
    };
}

/// All functions by name.
pub(super) fn table() -> impl Iterator<Item = (String, Func)> {
    // The engine evaluates these two lazily and knows them by address.
    let lazy = [("and", funcs::and as Func), ("or", funcs::or as Func)];
    let bounded = bounded![
        "eq" => logic::eq, "ne" => logic::ne, "lt" => funcs::lt, "le" => funcs::le,
        "gt" => funcs::gt, "ge" => funcs::ge, "not" => funcs::not, "len" => funcs::len,
        "index" => funcs::index, "slice" => funcs::slice, "html" => funcs::html,
        "js" => funcs::js, "urlquery" => funcs::urlquery, "print" => funcs::print,
        "println" => funcs::println, "printf" => printing::printf,
        "toString" => printing::to_string, "quote" => printing::quote,
        "squote" => printing::squote,
        "b64enc" => encoding::b64enc, "b64dec" => encoding::b64dec,
        "toJson" => encoding::to_json, "fromJson" => encoding::from_json,
        "toYaml" => encoding::to_yaml, "fromYaml" => encoding::from_yaml,
        "sha256sum" => encoding::sha256sum,
        "upper" => text::upper, "lower" => text::lower, "title" => text::title,
        "trim" => text::trim, "trimAll" => text::trim_all, "trimPrefix" => text::trim_prefix,
        "trimSuffix" => text::trim_suffix, "trunc" => text::trunc, "replace" => text::replace,
        "contains" => text::contains, "hasPrefix" => text::has_prefix,
        "hasSuffix" => text::has_suffix, "indent" => text::indent, "nindent" => text::nindent,
        "regexMatch" => text::regex_match, "regexReplaceAll" => text::regex_replace_all,
        "join" => lists::join, "split" => lists::split, "splitList" => lists::split_list,
        "first" => lists::first, "last" => lists::last, "list" => lists::list,
        "dict" => lists::dict, "get" => lists::get, "keys" => lists::keys,
        "values" => lists::values, "has" => lists::has, "dig" => lists::dig,
        "default" => logic::default, "empty" => logic::empty, "coalesce" => logic::coalesce,
        "ternary" => logic::ternary,
        "int" => numbers::int, "int64" => numbers::int, "float64" => numbers::float64,
        "add" => numbers::add, "sub" => numbers::sub, "mul" => numbers::mul,
        "div" => numbers::div, "mod" => numbers::modulo,
        "filterPEM" => certificates::filter_pem,
        "filterCertChain" => certificates::filter_cert_chain,
    ];
    lazy.into_iter()
        .chain(bounded)
        .map(|(name, function)| (name.to_owned(), function))
}

/// See [`super::is_regex`].
pub(super) fn is_regex(pattern: &str) -> bool {
    text::regex(pattern, "").is_ok()
}

/// Exactly `N` arguments.
fn exactly<const N: usize>(args: &[Value]) -> Result<&[Value; N]> {
    args.try_into()
        .map_err(|_| refusal("wrong number of arguments"))
}

/// A text argument.
fn string(value: &Value) -> Result<&str> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(refusal("not a string")),
    }
}

/// Exactly `N` texts.
fn strings<const N: usize>(args: &[Value]) -> Result<[&str; N]> {
    let args: &[Value; N] = exactly(args)?;
    let mut texts = [""; N];
    for (text, arg) in texts.iter_mut().zip(args) {
        *text = string(arg)?;
    }
    Ok(texts)
}

/// sprig's `strval`.
fn text_of(value: &Value) -> String {
    value.to_string()
}

/// The text is never shown, since it would reveal something about the values.
fn refusal(what: &'static str) -> FuncError {
    FuncError::Generic(what.to_owned())
}
