//! What a handler generates, on its own and in a router.

use proc_macro2::{Delimiter, Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, ItemFn, Type, Visibility, ext::IdentExt, spanned::Spanned};

use super::{
    inherited::{by_item, by_uses},
    model::{Handler, Order, Output, Timeout},
    work,
};
use crate::{
    attr::Runtime,
    tokens::{at_one_place, ends, generated, last_name, with_lifetime},
};

// Input:
//
//     #[handler(concurrency = 16)]
//     async fn placed(order: OrderPlaced, State(db): State<Db>) -> Result<(), Error> { … }
//
// Output, next to the function, without the absolute paths of standard items:
//
// No `#[allow(…)]` is written, as a crate may forbid it: what a macro has written is nothing that lints look at, as long as its spans say so.
//
//     #[doc(hidden)]
//     struct __placed_12_10 {}
//     #[doc(hidden)]
//     type placed = <__placed_12_10 as ::tidings::__private::StandsFor>::Handler;   // a type: it shares its name with the function
//     const _: () = {
//         use ::tidings::__private as __tidings;
//         pub struct placed {}
//         impl __tidings::StandsFor for __placed_12_10 { type Handler = placed; }
//         impl __tidings::Handler for placed { … }             // see `facts`
//         impl<S: Sync> __tidings::Call<S> for placed
//         where
//             for<'a> State<Db>: __tidings::Extract<'a, OrderPlaced, S>,
//         { … }                                                // see `call`
//         const _: fn(&__tidings::Context<'_, __tidings::AnyState>) = |context| {
//             let _ = <State<Db> as __tidings::Extract<'_, OrderPlaced, __tidings::AnyState>>::extract(context);
//         };
//     };
pub(super) fn free_handler(handler: &Handler, runtime: &Runtime) -> TokenStream {
    let Handler { on_item, on_uses, ident, arguments, .. } = handler;
    let import = runtime.import();
    let Exported { outside, within } = exported(&handler.ident, &handler.visibility, (on_item, on_uses), runtime);
    let facts = facts(handler, ident, None);
    let message = with_lifetime(handler.message.to_token_stream(), "'__a");
    let bounds = arguments.iter().map(|ty| {
        let ty = with_lifetime(ty.to_token_stream(), "'__a");
        quote!(for<'__a> #ty: __tidings::Extract<'__a, #message, __S>,)
    });
    let body = call_body(handler, &ident.to_token_stream(), &quote!(__S));
    let call = quote_spanned! {Span::mixed_site()=>
        impl<__S: ::core::marker::Sync> __tidings::Call<__S> for #ident
        where
            #(#bounds)*
        {
            #body
        }
    };
    let checks = argument_checks(handler);
    quote! {
        #outside
        #(#on_uses)*
        const _: () = { #import #within #facts #call #checks };
    }
}

/// The type that stands for a function.
struct Exported {
    /// What gives it the function's name.
    outside: TokenStream,
    /// What defines it, beside its impls.
    within: TokenStream,
}

/// Nothing in the block names what stands outside, so that a module of this name is in its way once. All of it stands at the name, which that is said of.
fn exported(
    ident: &Ident,
    visibility: &Visibility,
    (on_item, on_uses): (&[Attribute], &[Attribute]),
    runtime: &Runtime,
) -> Exported {
    let marker = generated(ident);
    let site = marker.span();
    let visibility = at_one_place(visibility.to_token_stream(), site);
    let private = at_one_place(runtime.private(), site);
    // By its place, so that two functions of one name are no two types of one name too.
    let (line, column) = (site.unwrap().line(), site.unwrap().column());
    let key = Ident::new(&format!("__{}_{line}_{column}", ident.unraw()), site);
    let definition = quote_spanned!(site=> #visibility struct #key {});
    let alias = quote_spanned!(site=> #visibility type #marker = <#key as #private::StandsFor>::Handler;);
    Exported {
        outside: quote! {
            #(#on_uses)*
            #[doc(hidden)]
            #[non_exhaustive]
            #definition
            #(#on_item)*
            #[doc(hidden)]
            #alias
        },
        within: quote_spanned! {site=>
            #[non_exhaustive]
            pub struct #marker {}
            #[automatically_derived]
            impl __tidings::StandsFor for #key {
                type Handler = #marker;
            }
        },
    }
}

/// Asks each argument for what it must be before the router is known, so that its error is here and not where it is served.
fn argument_checks(handler: &Handler) -> TokenStream {
    if handler.arguments.is_empty() {
        return TokenStream::new();
    }
    let message = with_lifetime(handler.message.to_token_stream(), "'_");
    let extracts = handler.arguments.iter().map(|ty| {
        let ty = with_lifetime(ty.to_token_stream(), "'_");
        let site = Span::mixed_site();
        let (first, last) = ends(&ty);
        let (first, last) = (site.located_at(first), site.located_at(last));
        // All of the call is where the type is, as of a type that wants to live for longer the call is to blame.
        let (open, message) = (quote_spanned!(first=> <), at_one_place(message.clone(), last));
        let extract =
            quote_spanned!(last=> as __tidings::Extract<'_, #message, __tidings::AnyState>>::extract(context));
        quote_spanned!(site=> let _ = #open #ty #extract;)
    });
    quote_spanned! {Span::mixed_site()=>
        const _: fn(&__tidings::Context<'_, __tidings::AnyState>) = |context| { #(#extracts)* };
    }
}

// Input:
//
//     impl Shop {
//         #[handler]
//         async fn placed(order: OrderPlaced) { … }
//     }
//
// Output, next to the function:
//
//     ::tidings::__private::a_handler_in_an_impl_needs_the_attribute_router_on_that_impl! { ::tidings::__private::items { … } }
//
// Output of that macro:
//
//     #[::tidings::__private::items(…)]
//     impl __Handler {}
/// An `impl` has none of these items, and the compiler would refuse each by itself. One that is in the way of all the others it refuses alone, and adds the
/// macro that has written it: here one whose name is the advice. Elsewhere the attribute makes all of them of it.
pub(super) fn outside_of_impls(items: TokenStream, function: &ItemFn, runtime: &Runtime) -> TokenStream {
    if items.is_empty() || !is_rustc() {
        return items;
    }
    let site = Span::mixed_site().located_at(function.sig.ident.span());
    let private = at_one_place(runtime.private(), site);
    quote_spanned! {site=>
        #private::a_handler_in_an_impl_needs_the_attribute_router_on_that_impl! { #private::items { #items } }
    }
}

pub(super) fn free_items(input: TokenStream) -> TokenStream {
    let mut attribute: Vec<TokenTree> = input.into_iter().collect();
    let Some(TokenTree::Group(items)) = attribute.pop() else { return TokenStream::new() };
    let (attribute, items) = (attribute.into_iter().collect::<TokenStream>(), items.stream());
    quote! {
        #[#attribute(#items)]
        impl __Handler {}
    }
}

/// Whether the compiler expands, and not an editor, which tells what a name stands for by who has written it.
pub(super) fn is_rustc() -> bool {
    format!("{:?}", Span::call_site()).starts_with('#')
}

// Output, `marker` being `placed` or the hidden type of a method:
//
//     const __MESSAGE: __tidings::Incoming<OrderPlaced> = <OrderPlaced as __tidings::Arrives>::INCOMING;
//     impl __tidings::Handler for marker {
//         const ROUTE: __tidings::Route = __tidings::Route::new(
//             "placed", "OrderPlaced", __MESSAGE.facts(), __tidings::HandlerOptions::DEFAULT.concurrency(16));
//         const LAYER: Option<fn() -> __tidings::HandlerLayer> = Some(|| __tidings::handler_layer(ConcurrencyLimitLayer::new(4)));
//         const ENDINGS: __tidings::Endings = __MESSAGE.endings();
//     }
//     …                                                        // see `work::proofs`
pub(super) fn facts(handler: &Handler, marker: &Ident, router: Option<&str>) -> TokenStream {
    let Handler { ident, message, options, .. } = handler;
    let name = ident.unraw().to_string();
    let message_name = last_name(&handler.message);
    let of_router = router.map(|router| quote!(.of_router(#router)));
    let concurrency = options.concurrency.map(|limit| {
        let limit = Literal::u64_unsuffixed(limit);
        quote!(.concurrency(#limit))
    });
    let (order, order_proof) = options.order.as_ref().map(order).unzip();
    let run_to_end = options.run_to_end.then(|| quote!(.run_to_end()));
    let timeout = options.timeout.as_ref().map(|timeout| match timeout {
        Timeout::None => quote!(.unlimited()),
        Timeout::Nanos(nanos) => quote!(.timeout_nanos(#nanos)),
    });
    let (work, proofs) = (work::options(options), work::proofs(handler, marker));
    let fallback = options.fallback.then(|| quote!(.fallback()));
    // This and `answer` below are one and the same error if the argument is no message, so it shows once.
    let incoming = of_arriving(handler, "INCOMING");
    let incoming_type =
        if handler.borrows { quote!(__tidings::IncomingBorrowed) } else { quote!(__tidings::Incoming<#message>) };
    let spawn = options.spawn.then(|| quote!(.spawn()));
    let layer = options.layer.as_ref().map(|layer| {
        quote! {
            const LAYER: ::core::option::Option<fn() -> __tidings::HandlerLayer> =
                ::core::option::Option::Some(|| __tidings::handler_layer(#layer));
        }
    });
    quote! {
        const __MESSAGE: #incoming_type = #incoming;
        #[automatically_derived]
        impl __tidings::Handler for #marker {
            const ROUTE: __tidings::Route = __tidings::Route::new(
                #name,
                #message_name,
                __MESSAGE.facts(),
                __tidings::HandlerOptions::DEFAULT #concurrency #order #timeout #run_to_end #fallback #spawn #work,
            ) #of_router;
            #layer
            const ENDINGS: __tidings::Endings = __MESSAGE.endings();
        }
        #order_proof
        #proofs
    }
}

// Output of `order = account`, at the name:
//
//     const _: () = __tidings::prove_order(__MESSAGE.facts(), "account");
/// The option, and the proof that there is such a parameter: an item of its own, so that its error is one.
fn order(order: &Order) -> (TokenStream, TokenStream) {
    match order {
        Order::Channel => (quote!(.order(__tidings::Order::Channel)), TokenStream::new()),
        Order::None => (quote!(.order(__tidings::Order::None)), TokenStream::new()),
        Order::Parameter(name) => (
            quote!(.order(__tidings::Order::Parameter(#name))),
            quote_spanned!(name.span()=> const _: () = __tidings::prove_order(__MESSAGE.facts(), #name);),
        ),
    }
}

// Output:
//
//     fn call<'a>(state: &'a S, delivery: &'a mut __tidings::Delivery, bus: &'a __tidings::Bus)
//         -> impl Future<Output = __tidings::Outcome> + Send + 'a
//     {
//         async move {
//             let (delivery, bus) = (delivery, bus);
//             let message = match __MESSAGE.decode(delivery) {
//                 Ok(message) => message,
//                 Err(outcome) => return outcome,
//             };
//             match &message {
//                 order => if order.total > 100 {} else { return __tidings::Outcome::Filtered; },
//             }
//             let context = __tidings::Context::new(delivery, bus, state);
//             let argument0 = match <State<Db> as __tidings::Extract<'_, OrderPlaced, S>>::extract(&context) {    // see `asked_argument`
//                 Ok(argument) => argument,
//                 Err(error) => return __tidings::not_extracted(&error),
//             };
//             use __tidings::{OfAnything as _, OfError as _, OfReport as _, OfRuledError as _, OfRules as _, OfSendReport as _};
//             let returned = placed(message, argument0).await;
//             let because = (&&&&&&__tidings::Returning(&returned)).because();
//             {
//                 let into_outcome =
//                     <__tidings::Returns<_> as __tidings::Returned<<OrderPlaced as __tidings::Arrives>::Answer>>::into_outcome;
//                 into_outcome(__tidings::Returns(returned), delivery, bus)
//             }
//                 .because(because)
//         }
//     }
pub(super) fn call_body(handler: &Handler, callee: &TokenStream, state: &TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let (filter, begin) = (filter(handler), work::begin(handler));
    let message_type = &handler.message;
    let decode = decode(handler);
    let inferred = with_lifetime(message_type.to_token_stream(), "'_");
    let names: Vec<Ident> =
        (0..handler.arguments.len()).map(|index| Ident::new(&format!("argument{index}"), site)).collect();
    let context = (!names.is_empty())
        .then(|| quote_spanned!(site=> let context = __tidings::Context::new(delivery, bus, state);));
    let extracts = names.iter().zip(&handler.arguments).map(|(name, ty)| {
        let ty = asked_argument(handler, ty);
        quote_spanned! {site=>
            let #name = match <#ty as __tidings::Extract<'_, #inferred, #state>>::extract(&context) {
                ::core::result::Result::Ok(argument) => argument,
                ::core::result::Result::Err(error) => return __tidings::not_extracted(&error),
            };
        }
    });
    let receiver = handler.has_receiver.then(|| quote_spanned!(site=> state,));
    let run = quote_spanned!(site=> #callee(#receiver message, #(#names),*).await);
    let outcome = outcome(handler, &run);
    // The future's bounds are checked here: the handler's name is the place to blame, by the first and the last token.
    let (first, last) = (quote_spanned!(handler.ident.span()=> impl), quote_spanned!(handler.ident.span()=> + '__a));
    let future = quote_spanned! {site=>
        #first ::core::future::Future<Output = __tidings::Outcome> + ::core::marker::Send #last
    };
    quote_spanned! {site=>
        fn call<'__a>(
            state: &'__a #state,
            delivery: &'__a mut __tidings::Delivery,
            bus: &'__a __tidings::Bus,
        ) -> #future {
            async move {
                let (delivery, bus) = (delivery, bus);
                #decode
                #filter
                #begin
                #context
                #(#extracts)*
                #outcome
            }
        }
    }
}

/// An argument's type where it is extracted. The compiler knows it of a method, and written again, one that does not exist would give a second
/// error; of a function it is asked by its name elsewhere too.
fn asked_argument(handler: &Handler, ty: &Type) -> TokenStream {
    let ty = ty.to_token_stream();
    if !handler.has_receiver {
        return with_lifetime(ty, "'_");
    }
    let (first, last) = ends(&ty);
    let close = quote_spanned!(last=> >);
    quote_spanned!(first=> __tidings::Argument<_ #close)
}

/// What becomes of the return value, asked of its type at the place where it is written.
fn outcome(handler: &Handler, run: &TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let answer = of_arriving(handler, "Answer");
    match &handler.output {
        Output::Nothing => {
            let nothing = quote_spanned!(handler.ident.span()=> __tidings::Returns<()>);
            quote_spanned!(site=> <#nothing as __tidings::Returned<#answer>>::into_outcome(__tidings::Returns(#run), delivery, bus))
        }
        Output::Type(first, last) => {
            // The type is left to the compiler, which knows it of the function: written again, one that does not exist would give a second error. What
            // is asked of it is asked at the place where it is written, from its first token to its last.
            let (open, close) = (quote_spanned!(*first=> __tidings::Returns<_), quote_spanned!(*last=> >));
            with_causes(
                run,
                &quote_spanned! {site=> {
                    let into_outcome = <#open #close as __tidings::Returned<#answer>>::into_outcome;
                    into_outcome(__tidings::Returns(returned), delivery, bus)
                }},
            )
        }
    }
}

fn with_causes(run: &TokenStream, outcome: &TokenStream) -> TokenStream {
    quote_spanned! {Span::mixed_site()=>
        use __tidings::{OfAnything as _, OfError as _, OfReport as _, OfRuledError as _, OfRules as _, OfSendReport as _};
        let returned = #run;
        let because = (&&&&&&__tidings::Returning(&returned)).because();
        #outcome.because(because)
    }
}

/// Something of the message's type, asked from its first token to its last.
fn of_arriving(handler: &Handler, name: &str) -> TokenStream {
    let (message, arrives) = arriving(handler);
    let (first, last) = ends(&message);
    let (open, name) = (quote_spanned!(first=> <), Ident::new(name, last));
    let close = quote_spanned!(last=> >::#name);
    quote!(#open #message as #arrives #close)
}

/// The message's type and what it is asked to be, where no call gives it a lifetime.
fn arriving(handler: &Handler) -> (TokenStream, TokenStream) {
    if !handler.borrows {
        return (handler.message.to_token_stream(), quote!(__tidings::Arrives));
    }
    let message = with_lifetime(handler.message.to_token_stream(), "'static");
    let span = handler.message.span();
    (at_one_place(message, span), quote_spanned!(span=> __tidings::ArrivesBorrowed))
}

// Output for a message that borrows, `OrderView<'_>`:
//
//     let payload = __MESSAGE.payload(delivery);
//     let message = match <OrderView<'static> as __tidings::ArrivesBorrowed>::decode(delivery, &payload) {
//         Ok(message) => message,
//         Err(outcome) => return outcome,
//     };
fn decode(handler: &Handler) -> TokenStream {
    // The message's type is the place to blame for what is wrong with it.
    let site = Span::mixed_site().located_at(handler.message.span());
    let (message, arrives) = arriving(handler);
    let (payload, decoded) = if handler.borrows {
        (
            Some(quote_spanned!(site=> let payload = __MESSAGE.payload(delivery);)),
            quote_spanned!(site=> <#message as #arrives>::decode(delivery, &payload)),
        )
    } else {
        (None, quote_spanned!(site=> __MESSAGE.decode(delivery)))
    };
    quote_spanned! {site=>
        #payload
        let message = match #decoded {
            ::core::result::Result::Ok(message) => message,
            ::core::result::Result::Err(outcome) => return outcome,
        };
    }
}

fn filter(handler: &Handler) -> Option<TokenStream> {
    let tokens = handler.options.filter.clone()?;
    let Handler { pattern, bindings, .. } = handler;
    // A struct literal needs parentheses in a condition; elsewhere they would only widen the place of an error.
    let has_braces = tokens
        .clone()
        .into_iter()
        .any(|token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace));
    let condition = if has_braces { quote!((#tokens)) } else { tokens };
    // A filter need not look at everything that the pattern names.
    let looked_at = (!bindings.is_empty()).then(|| quote_spanned!(Span::mixed_site()=> let _ = (#(&#bindings,)*);));
    Some(quote_spanned! {Span::mixed_site()=>
        match &message {
            #pattern => {
                #looked_at
                if #condition {} else {
                    return __tidings::Outcome::Filtered;
                }
            }
        }
    })
}

// After an error the function is still a handler, so that no second error follows from the first.
pub(super) fn stub_handler(function: &ItemFn, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let marker = generated(&function.sig.ident);
    let on_uses = by_uses(&function.attrs);
    let attributes = (&*by_item(&function.attrs), &*on_uses);
    let Exported { outside, within } = exported(&function.sig.ident, &function.vis, attributes, runtime);
    let name = marker.unraw().to_string();
    quote! {
        #outside
        #(#on_uses)*
        const _: () = {
            #import
            #within
            impl __tidings::Handler for #marker {
                const ROUTE: __tidings::Route = __tidings::stub_route(#name, &[__tidings::Segment::literal(#name)]);
            }
            impl<__S: ::core::marker::Sync> __tidings::Call<__S> for #marker {
                fn call<'a>(
                    _: &'a __S,
                    _: &'a mut __tidings::Delivery,
                    _: &'a __tidings::Bus,
                ) -> impl ::core::future::Future<Output = __tidings::Outcome> + ::core::marker::Send + 'a {
                    ::core::future::ready(__tidings::Outcome::Done)
                }
            }
        };
    }
}
