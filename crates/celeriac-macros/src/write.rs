//! Writes what comes of a function and its options.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{Error, Result, spanned::Spanned as _};

use crate::{
    function::{Function, Param, Source},
    key,
    options::{Options, Retries},
};

pub(crate) fn task(options: &Options, function: &Function) -> Result<TokenStream> {
    if let (Some(judge), false) = (&options.retry_if, function.fallible) {
        return Err(Error::new_spanned(judge, "`retry_if` judges a task's error: this one returns no Result"));
    }
    let krate = options.krate.as_ref().map_or_else(|| quote!(::celeriac), quote::ToTokens::to_token_stream);
    let name = &function.item.sig.ident;
    let visibility = &function.item.vis;
    let attributes = &function.attributes;
    let wire_name = wire_name(options, &name.to_string());
    let output = &function.output;

    let arguments: Vec<&Param> =
        function.params.iter().filter(|param| matches!(param.source, Source::Argument { .. })).collect();
    let names: Vec<String> = arguments.iter().map(|param| param.name.to_string()).collect();
    let in_key = options.unique.as_ref().map(|unique| key::names(&unique.key, &names)).transpose()?.unwrap_or_default();
    let constructor = constructor(&krate, &wire_name, options, &arguments);
    let parameters = arguments.iter().map(|Param { name, ty, .. }| quote!(#name: #ty));
    // A key that names the first argument cannot be made before that is known.
    let leading = arguments.split_first().filter(|(first, _)| !in_key.contains(&first.name.to_string()));
    let partial = leading.map(|(first, rest)| {
        let first_type = &first.ty;
        let parameters = rest.iter().map(|Param { name, ty, .. }| quote!(#name: #ty));
        let body = self::constructor(&krate, &wire_name, options, rest);
        quote! {
            /// A signature without its first argument: what an earlier step returns takes the place.
            #[allow(clippy::needless_pass_by_value)]
            #visibility fn partial(#(#parameters),*) -> #krate::Signature<#output, #first_type> {
                #body
            }
        }
    });
    let definition = definition(&krate, options, function, &wire_name, &arguments);
    let run = {
        let mut item = function.item.clone();
        item.sig.ident = format_ident!("run", span = name.span());
        item.attrs.retain(|attribute| !attribute.path().is_ident("cfg"));
        item.vis = visibility.clone();
        item
    };
    Ok(quote! {
        #(#attributes)*
        #[allow(clippy::needless_pass_by_value)]
        #visibility fn #name(#(#parameters),*) -> #krate::Signature<#output> {
            #constructor
        }

        #(#attributes)*
        #[allow(non_camel_case_types)]
        #visibility struct #name {}

        impl #name {
            // What a task takes and how it is written is the wire's business, not the lints'.
            #[allow(clippy::unused_async, clippy::needless_pass_by_value, clippy::used_underscore_binding)]
            #run
            #partial
        }

        #[allow(clippy::unit_arg, clippy::let_unit_value)]
        impl #krate::Task for #name {
            const NAME: &'static str = #wire_name;
            #definition
        }
    })
}

/// `crate.function` unless named otherwise, as Celery names tasks by module.
fn wire_name(options: &Options, function: &str) -> String {
    if let Some(name) = &options.name {
        return name.value();
    }
    let krate = std::env::var("CARGO_CRATE_NAME").unwrap_or_else(|_| "tasks".into());
    format!("{krate}.{}", function.trim_start_matches("r#"))
}

fn constructor(krate: &TokenStream, wire_name: &str, options: &Options, arguments: &[&Param]) -> TokenStream {
    // The mistake of a type that cannot travel is shown at the type.
    let with = arguments.iter().map(|Param { name, ty, .. }| {
        let text = name.to_string();
        quote_spanned!(ty.span()=> .with(#text, &#name))
    });
    let mut set = Vec::new();
    if let Some(queue) = &options.queue {
        set.push(quote!(.queue(#queue)));
    }
    if let Some(priority) = options.priority {
        set.push(quote!(.priority(#priority)));
    }
    if let Some(serializer) = &options.serializer {
        set.push(quote!(.serializer(#serializer)));
    }
    if let Some(expires) = options.expires {
        let expires = duration(expires);
        set.push(quote!(.expires(#expires)));
    }
    if let Some(unique) = &options.unique {
        let (key, window) = (&unique.key, duration(unique.window));
        set.push(quote!(.unique(&::std::format!(#key), #window)));
    }
    quote!(#krate::Signature::new(#wire_name, #krate::Arguments::default() #(#with)*) #(#set)*)
}

fn definition(
    krate: &TokenStream,
    options: &Options,
    function: &Function,
    wire_name: &str,
    arguments: &[&Param],
) -> TokenStream {
    let params = arguments.iter().map(|Param { name, ty, source }| {
        let (name, rust_type) = (name.to_string(), ty.to_token_stream().to_string().replace(' ', ""));
        let optional = matches!(source, Source::Argument { optional: true });
        quote!(#krate::Param { name: #name, rust_type: #rust_type, optional: #optional })
    });
    let mut index = 0_usize;
    let bind = function.params.iter().enumerate().map(|(place, param)| {
        let variable = format_ident!("value_{place}");
        let ty = &param.ty;
        match &param.source {
            Source::Argument { .. } => {
                let at = index;
                index += 1;
                quote_spanned! {ty.span()=>
                    let #variable: #ty = match bound.get(#at) {
                        Ok(value) => value,
                        Err(outcome) => return outcome,
                    };
                }
            }
            Source::State(inner) => quote_spanned! {ty.span()=>
                let #variable: #ty = match call.ctx.state().get::<#inner>() {
                    Ok(value) => #krate::State(value),
                    Err(error) => return #krate::__private::no_state(&error),
                };
            },
            Source::Context => quote!(let #variable: #ty = call.ctx.clone();),
        }
    });
    let bind: Vec<_> = bind.collect();
    let values = (0..function.params.len()).map(|place| format_ident!("value_{place}"));
    let call = quote!(Self::run(#(#values),*));
    let call = if function.item.sig.asyncness.is_some() {
        quote!(#call.await)
    } else {
        quote!(#krate::__private::blocking(move || #call).await)
    };
    // The mistake of a value that cannot travel is shown at its type.
    let value = syn::Ident::new("value", function.output.span());
    let success = quote_spanned!(function.output.span()=> #krate::__private::success(&#value));
    let outcome = if function.fallible {
        let judged = options
            .retry_if
            .as_ref()
            .map(|judge| quote_spanned!(judge.span()=> let kind = #krate::__private::verdict(&error, #judge);));
        let with_kind = judged.as_ref().map(|_| quote!(.with_kind(kind)));
        let failure = quote_spanned! {function.returned.span()=>
            {
                #[allow(unused_imports)]
                use #krate::__private::{Boxed as _, Converted as _};
                (&#krate::__private::Given(::core::cell::Cell::new(::core::option::Option::Some(error)))).task_error()
            }
        };
        quote!(match #call {
            Ok(#value) => #success,
            Err(error) => {
                #judged
                let error: #krate::TaskError = #failure;
                error #with_kind .into()
            }
        })
    } else {
        quote!({
            let #value = #call;
            #success
        })
    };
    let options = task_options(krate, options);
    quote! {
        fn definition() -> #krate::TaskDefinition {
            const PARAMS: &[#krate::Param] = &[#(#params),*];
            #krate::TaskDefinition {
                name: #wire_name,
                options: #options,
                params: PARAMS,
                run: ::std::sync::Arc::new(|call: #krate::Call| ::std::boxed::Box::pin(async move {
                    #[allow(unused_variables)]
                    let bound = match #krate::Bound::new(#wire_name, PARAMS, &call.ctx.request().message) {
                        Ok(bound) => bound,
                        Err(outcome) => return outcome,
                    };
                    #(#bind)*
                    #outcome
                })),
            }
        }
    }
}

fn task_options(krate: &TokenStream, options: &Options) -> TokenStream {
    let mut set = Vec::new();
    match options.max_retries {
        Some(Retries::Forever) => set.push(quote!(options.max_retries = None;)),
        Some(Retries::AtMost(max)) => set.push(quote!(options.max_retries = Some(#max);)),
        None => {}
    }
    if let Some(base) = options.backoff.map(duration) {
        set.push(quote!(options.backoff.base = #base;));
    }
    if let Some(max) = options.backoff_max.map(duration) {
        set.push(quote!(options.backoff.max = #max;));
    }
    if let Some(factor) = options.backoff_factor {
        set.push(quote!(options.backoff.factor = #factor;));
    }
    if let Some(jitter) = options.jitter {
        set.push(quote!(options.backoff.jitter = #jitter;));
    }
    if let Some(limit) = options.time_limit.map(duration) {
        set.push(quote!(options.time_limit = Some(#limit);));
    }
    if let Some(limit) = options.soft_time_limit.map(duration) {
        set.push(quote!(options.soft_time_limit = Some(#limit);));
    }
    if let Some(expires) = options.expires.map(duration) {
        set.push(quote!(options.expires = Some(#expires);));
    }
    if let Some(rate) = options.rate_limit {
        set.push(quote!(options.rate_limit = Some(#krate::RateLimit { per_second: #rate });));
    }
    if let Some(queue) = &options.queue {
        set.push(quote!(options.queue = Some(#queue);));
    }
    if let Some(priority) = options.priority {
        set.push(quote!(options.priority = Some(#krate::core::Priority(#priority));));
    }
    if let Some(serializer) = &options.serializer {
        set.push(quote!(options.serializer = Some(#serializer);));
    }
    for (name, value) in [
        ("acks_late", options.acks_late),
        ("ignore_result", options.ignore_result),
        ("track_started", options.track_started),
        ("keep_failures", options.keep_failures),
    ] {
        if let Some(value) = value {
            let field = format_ident!("{name}");
            set.push(quote!(options.#field = #value;));
        }
    }
    quote!({
        #[allow(unused_mut)]
        let mut options = #krate::TaskOptions::default();
        #(#set)*
        options
    })
}

fn duration(duration: Duration) -> TokenStream {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    quote!(::core::time::Duration::from_nanos(#nanos))
}
