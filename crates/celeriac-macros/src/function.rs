//! The function under `#[task]`: its parameters, its return type, what cannot be a task.

use proc_macro2::TokenStream;
use syn::{Attribute, Error, FnArg, GenericArgument, Ident, ItemFn, Pat, PathArguments, Result, ReturnType, Type};

/// A function that can be a task.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    /// Its doc comments and `cfg`s, which stand on everything that is written.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) params: Vec<Param>,
    /// What it gives when all is well.
    pub(crate) output: Type,
    /// The whole type behind the arrow.
    pub(crate) returned: Type,
    /// Whether it returns a `Result`.
    pub(crate) fallible: bool,
}

/// One parameter.
pub(crate) struct Param {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) source: Source,
}

/// Where a parameter comes from.
pub(crate) enum Source {
    /// Off the wire.
    Argument { optional: bool },
    /// `State<T>`: what the worker was given.
    State(Box<Type>),
    /// `Context`.
    Context,
}

pub(crate) fn parse(tokens: TokenStream) -> Result<Function> {
    let item: ItemFn = syn::parse2(tokens)
        .map_err(|error| Error::new(error.span(), format!("#[task] stands on a function: {error}")))?;
    let signature = &item.sig;
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            "a task has no generics: its arguments come off the wire. Write the type itself",
        ));
    }
    if let syn::Safety::Unsafe(token) = &signature.safety {
        return Err(Error::new_spanned(token, "a task is not unsafe: whoever sends it cannot promise anything"));
    }
    let params = signature.inputs.iter().map(param).collect::<Result<Vec<_>>>()?;
    let returned = match &signature.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let (output, fallible) = match generic(&returned, "Result") {
        Some(ok) => (ok, true),
        None => (returned.clone(), false),
    };
    let attributes =
        item.attrs.iter().filter(|it| it.path().is_ident("doc") || it.path().is_ident("cfg")).cloned().collect();
    Ok(Function { item, attributes, params, output, returned, fallible })
}

fn param(input: &FnArg) -> Result<Param> {
    let FnArg::Typed(input) = input else {
        return Err(Error::new_spanned(input, "a task has no self: hand it what it needs as State<T>"));
    };
    let Pat::Ident(pattern) = &*input.pat else {
        return Err(Error::new_spanned(
            &input.pat,
            "a parameter of a task has a plain name, by which it is sent. Take it apart in the body",
        ));
    };
    if let Type::Reference(reference) = &*input.ty {
        return Err(Error::new_spanned(
            reference,
            "a parameter of a task owns its value: it is read off the wire (say, String instead of &str)",
        ));
    }
    if let Type::ImplTrait(ty) = &*input.ty {
        return Err(Error::new_spanned(
            ty,
            "a parameter of a task has one type: it is read off the wire. Write the type itself (say, String)",
        ));
    }
    let source = if let Some(inner) = generic(&input.ty, "State") {
        Source::State(Box::new(inner))
    } else if is_named(&input.ty, "Context") {
        Source::Context
    } else {
        Source::Argument { optional: generic(&input.ty, "Option").is_some() }
    };
    Ok(Param { name: pattern.ident.clone(), ty: (*input.ty).clone(), source })
}

/// The first type argument of a type whose last segment is `name`.
fn generic(ty: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}
