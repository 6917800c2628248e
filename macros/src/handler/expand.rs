//! What `#[handler]`, `#[router]` and `routes![…]` generate.

use proc_macro2::{Delimiter, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{ItemFn, ItemImpl, Type, ext::IdentExt, spanned::Spanned};

use super::model::{Handler, Order, Router, Routes};
use crate::attr::Runtime;

// Input:
//
//     #[handler(concurrency = 16)]
//     async fn placed(order: OrderPlaced, State(db): State<Db>) -> Result<(), Error> { … }
//
// Output, next to the function, without the absolute paths of standard items:
//
//     #[doc(hidden)]
//     struct placed {}          // a type: it shares its name with the function
//     const _: () = {
//         use ::tidings::__private as __tidings;
//         const __MESSAGE: __tidings::Incoming<OrderPlaced> = <OrderPlaced as __tidings::Arrives>::INCOMING;
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
    let Handler { conditions, visibility, ident, message, arguments, .. } = handler;
    let import = runtime.import();
    let constant = format_ident!("__MESSAGE");
    let facts = facts(handler, ident, &constant);
    let message = with_lifetime(message.to_token_stream(), "'__a");
    let bounds = arguments.iter().map(|ty| {
        let ty = with_lifetime(ty.to_token_stream(), "'__a");
        quote!(for<'__a> #ty: __tidings::Extract<'__a, #message, __S>,)
    });
    let body = call_body(handler, &constant, &quote!(#ident), &quote!(__S));
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
        #(#conditions)*
        #[allow(non_camel_case_types, dead_code, missing_debug_implementations)]
        #[doc(hidden)]
        #visibility struct #ident {}

        #(#conditions)*
        #[allow(unused_qualifications, unused_variables)]
        const _: () = { #import #facts #call #checks };
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
        quote_spanned!(Span::mixed_site()=> let _ = <#ty as __tidings::Extract<'_, #message, __tidings::AnyState>>::extract(context);)
    });
    quote_spanned! {Span::mixed_site()=>
        const _: fn(&__tidings::Context<'_, __tidings::AnyState>) = |context| { #(#extracts)* };
    }
}

// Output, `marker` being `placed` or the hidden type of a method:
//
//     impl __tidings::Handler for marker {
//         const ROUTE: __tidings::Route = __tidings::Route::new(
//             "placed", "OrderPlaced", __MESSAGE.facts(), __tidings::HandlerOptions::DEFAULT.concurrency(16));
//         const LAYER: Option<fn() -> __tidings::HandlerLayer> = Some(|| __tidings::handler_layer(ConcurrencyLimitLayer::new(4)));
//     }
fn facts(handler: &Handler, marker: &Ident, constant: &Ident) -> TokenStream {
    let Handler { ident, options, .. } = handler;
    let name = ident.unraw().to_string();
    let message_name = last_name(&handler.message);
    let concurrency = options.concurrency.map(|limit| {
        let limit = Literal::u64_unsuffixed(limit);
        quote!(.concurrency(#limit))
    });
    let (order, order_proof) = options.order.as_ref().map(|order| self::order(order, constant)).unzip();
    let run_to_end = options.run_to_end.then(|| quote!(.run_to_end()));
    let timeout = options.timeout_nanos.map(|nanos| quote!(.timeout_nanos(#nanos)));
    let fallback = options.fallback.then(|| quote!(.fallback()));
    // This and `answer` below are one and the same error if the argument is no message, so it shows once.
    let (message, arrives) = arriving(handler);
    let incoming = quote_spanned!(handler.message.span()=> <#message as #arrives>::INCOMING);
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
        const #constant: #incoming_type = #incoming;
        #[automatically_derived]
        impl __tidings::Handler for #marker {
            const ROUTE: __tidings::Route = __tidings::Route::new(
                #name,
                #message_name,
                #constant.facts(),
                __tidings::HandlerOptions::DEFAULT #concurrency #order #timeout #run_to_end #fallback #spawn,
            );
            #layer
        }
        #order_proof
    }
}

// Output of `order = account`, at the name:
//
//     const _: () = __tidings::prove_order(__MESSAGE.facts(), "account");
/// The option, and the proof that there is such a parameter: an item of its own, so that its error is one.
fn order(order: &Order, constant: &Ident) -> (TokenStream, TokenStream) {
    match order {
        Order::Channel => (quote!(.order(__tidings::Order::Channel)), TokenStream::new()),
        Order::None => (quote!(.order(__tidings::Order::None)), TokenStream::new()),
        Order::Parameter(name) => (
            quote!(.order(__tidings::Order::Parameter(#name))),
            quote_spanned!(name.span()=> const _: () = __tidings::prove_order(#constant.facts(), #name);),
        ),
    }
}

// Output:
//
//     fn call<'a>(state: &'a S, delivery: &'a mut __tidings::Delivery, bus: &'a __tidings::Bus)
//         -> impl Future<Output = __tidings::Outcome> + Send + 'a
//     {
//         async move {
//             let message = match __MESSAGE.decode(delivery) {
//                 Ok(message) => message,
//                 Err(outcome) => return outcome,
//             };
//             match &message {
//                 order => if order.total > 100 {} else { return __tidings::Outcome::Filtered; },
//             }
//             let context = __tidings::Context::new(delivery, bus, state);
//             let argument0 = match <State<Db> as __tidings::Extract<'_, OrderPlaced, S>>::extract(&context) {
//                 Ok(argument) => argument,
//                 Err(error) => return __tidings::not_extracted(&error),
//             };
//             use __tidings::{OfAnything as _, OfError as _, OfReport as _, OfSendReport as _};
//             let returned = placed(message, argument0).await;
//             let causes = (&&&&__tidings::Returning(&returned)).causes();
//             <Result<(), Error> as __tidings::Returned<<OrderPlaced as __tidings::Arrives>::Answer>>::into_outcome(returned, delivery, bus)
//                 .because(causes)
//         }
//     }
fn call_body(handler: &Handler, constant: &Ident, callee: &TokenStream, state: &TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let filter = filter(handler);
    let message_type = &handler.message;
    let decode = decode(handler, constant);
    let inferred = with_lifetime(message_type.to_token_stream(), "'_");
    let names: Vec<Ident> =
        (0..handler.arguments.len()).map(|index| Ident::new(&format!("argument{index}"), site)).collect();
    let context = (!names.is_empty())
        .then(|| quote_spanned!(site=> let context = __tidings::Context::new(delivery, bus, state);));
    let extracts = names.iter().zip(&handler.arguments).map(|(name, ty)| {
        let ty = with_lifetime(ty.to_token_stream(), "'_");
        quote_spanned! {site=>
            let #name = match <#ty as __tidings::Extract<'_, #inferred, #state>>::extract(&context) {
                ::core::result::Result::Ok(argument) => argument,
                ::core::result::Result::Err(error) => return __tidings::not_extracted(&error),
            };
        }
    });
    let receiver = handler.has_receiver.then(|| quote_spanned!(site=> state,));
    let run = quote_spanned!(site=> #callee(#receiver message, #(#names),*).await);
    let (message, arrives) = arriving(handler);
    let answer = quote_spanned!(message_type.span()=> <#message as #arrives>::Answer);
    let outcome = match &handler.output {
        Some(output) => {
            quote_spanned! {site=>
                use __tidings::{OfAnything as _, OfError as _, OfReport as _, OfSendReport as _};
                let returned = #run;
                let causes = (&&&&__tidings::Returning(&returned)).causes();
                <#output as __tidings::Returned<#answer>>::into_outcome(returned, delivery, bus).because(causes)
            }
        }
        None => {
            let nothing = quote_spanned!(handler.ident.span()=> ());
            quote_spanned!(site=> <#nothing as __tidings::Returned<#answer>>::into_outcome(#run, delivery, bus))
        }
    };
    // The future's bounds are checked here: the handler's name is the place to blame.
    let future = quote_spanned! {handler.ident.span()=>
        impl ::core::future::Future<Output = __tidings::Outcome> + ::core::marker::Send + 'a
    };
    quote_spanned! {site=>
        fn call<'a>(
            state: &'a #state,
            delivery: &'a mut __tidings::Delivery,
            bus: &'a __tidings::Bus,
        ) -> #future {
            async move {
                #decode
                #filter
                #context
                #(#extracts)*
                #outcome
            }
        }
    }
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

/// Errors about the same type at the same place show once.
fn at_one_place(tokens: TokenStream, span: Span) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    moved.collect()
}

// Output for a message that borrows, `OrderView<'_>`:
//
//     let payload = __MESSAGE.payload(delivery);
//     let message = match <OrderView<'static> as __tidings::ArrivesBorrowed>::decode(delivery, &payload) {
//         Ok(message) => message,
//         Err(outcome) => return outcome,
//     };
fn decode(handler: &Handler, constant: &Ident) -> TokenStream {
    // The message's type is the place to blame for what is wrong with it.
    let site = Span::mixed_site().located_at(handler.message.span());
    let (message, arrives) = arriving(handler);
    let (payload, decoded) = if handler.borrows {
        (
            Some(quote_spanned!(site=> let payload = #constant.payload(delivery);)),
            quote_spanned!(site=> <#message as #arrives>::decode(delivery, &payload)),
        )
    } else {
        (None, quote_spanned!(site=> #constant.decode(delivery)))
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
    let expression = handler.options.filter.as_ref()?;
    let pattern = &handler.pattern;
    let tokens = expression.to_token_stream();
    // A struct literal needs parentheses in a condition; elsewhere they would only widen the place of an error.
    let has_braces = tokens
        .clone()
        .into_iter()
        .any(|token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace));
    let condition = if has_braces { quote!((#tokens)) } else { tokens };
    Some(quote_spanned! {Span::mixed_site()=>
        match &message {
            #pattern => if #condition {} else {
                return __tidings::Outcome::Filtered;
            },
        }
    })
}

// Input:
//
//     #[router]
//     impl Shop {
//         #[handler]
//         async fn placed(&self, order: OrderPlaced) { … }
//     }
//
// Output, next to the block, without the absolute paths of standard items:
//
//     const _: () = {
//         use ::tidings::__private as __tidings;
//         struct __Handler0 {}
//         impl __tidings::Handler for __Handler0 { … }         // see `facts`
//         impl __tidings::Call<Shop> for __Handler0            // see `call_body`
//         where
//             for<'a> Shop: Send + Sync + 'static,
//         { … }
//         …                                                    // see `table`
//         impl __tidings::Router for Shop                      // see `router_body`
//         where
//             for<'a> Shop: Send + Sync + 'static,
//         { … }
//     };
pub(super) fn router(router: &Router, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let Router { generics, self_type, handlers } = router;
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let predicates = where_clause.map(|clause| clause.predicates.iter()).into_iter().flatten();
    // The lifetime keeps the compiler from checking the bound here and again in each handler: it is checked where the router is
    // served, once.
    let shared = quote! {
        where
            #(#predicates,)*
            for<'__a> #self_type: ::core::marker::Send + ::core::marker::Sync + 'static
    };
    let state = quote!(#self_type);
    let markers: Vec<Ident> = (0..handlers.len()).map(|index| format_ident!("__Handler{index}")).collect();
    let calls = markers.iter().zip(handlers).enumerate().map(|(index, (marker, handler))| {
        let constant = format_ident!("__MESSAGE{index}");
        let facts = facts(handler, marker, &constant);
        let ident = &handler.ident;
        let body = call_body(handler, &constant, &quote!(<#self_type>::#ident), &state);
        quote! {
            struct #marker {}
            #facts
            #[automatically_derived]
            impl #impl_generics __tidings::Call<#state> for #marker #shared { #body }
        }
    });
    let calls: TokenStream = calls.collect();
    let table = table(&markers, handlers.iter().map(|handler| handler.ident.span()));
    let body = router_body(&markers, &state, &quote_spanned!(Span::mixed_site()=> self));
    let name = last_name(self_type);
    quote! {
        #[allow(dead_code, missing_debug_implementations, unused_qualifications, unused_variables)]
        const _: () = {
            #import
            #calls
            #table
            #[automatically_derived]
            impl #impl_generics __tidings::Router for #self_type #shared {
                const NAME: ::core::option::Option<&'static str> = ::core::option::Option::Some(#name);
                #body
            }
        };
    }
}

// Output:
//
//     const __ROUTES: &[__tidings::Route] = &[<placed as __tidings::Handler>::ROUTE, …];
//     const __LAYERS: &[Option<fn() -> __tidings::HandlerLayer>] = &[<placed as __tidings::Handler>::LAYER, …];
//     static __TABLE: __tidings::TableStorage<{ nodes(__ROUTES) }, { literal_slots(__ROUTES) }> = …::build(__ROUTES);
//     const _: () = __tidings::prove(__ROUTES, 1);            // at the name of the second handler
/// The routes are a constant *reference*: each use of a constant array would be a copy of it, in time that grows with the square.
fn table<T: ToTokens>(handlers: &[T], spans: impl Iterator<Item = Span>) -> TokenStream {
    let proofs =
        spans.enumerate().map(|(index, span)| quote_spanned!(span=> const _: () = __tidings::prove(__ROUTES, #index);));
    quote! {
        const __ROUTES: &[__tidings::Route] = &[#(<#handlers as __tidings::Handler>::ROUTE),*];
        const __LAYERS: &[::core::option::Option<fn() -> __tidings::HandlerLayer>] =
            &[#(<#handlers as __tidings::Handler>::LAYER),*];
        static __TABLE: __tidings::TableStorage<
            { __tidings::nodes(__ROUTES) },
            { __tidings::literal_slots(__ROUTES) },
        > = __tidings::TableStorage::build(__ROUTES);
        #(#proofs)*
    }
}

// Output, `state` being the state's type and `value` a reference to it:
//
//     const ROUTES: &'static [__tidings::Route] = __ROUTES;
//     const LAYERS: &'static [Option<fn() -> __tidings::HandlerLayer>] = __LAYERS;
//     fn table() -> __tidings::RouteTable { __TABLE.table(__ROUTES) }
//     fn dispatch<'a>(&'a self, route: usize, delivery: …, bus: …) -> impl Future<Output = __tidings::Outcome> + Send + 'a {
//         async move {
//             match route {
//                 0 => <placed as __tidings::Call<State>>::call(value, delivery, bus).await,
//                 …
//                 _ => __tidings::Outcome::Done,
//             }
//         }
//     }
fn router_body<T: ToTokens>(handlers: &[T], state: &TokenStream, value: &TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let arms = handlers.iter().enumerate().map(|(index, handler)| {
        quote_spanned!(site=> #index => <#handler as __tidings::Call<#state>>::call(#value, delivery, bus).await,)
    });
    quote_spanned! {site=>
        const ROUTES: &'static [__tidings::Route] = __ROUTES;
        const LAYERS: &'static [::core::option::Option<fn() -> __tidings::HandlerLayer>] = __LAYERS;

        fn table() -> __tidings::RouteTable {
            __TABLE.table(__ROUTES)
        }

        fn dispatch<'a>(
            &'a self,
            route: ::core::primitive::usize,
            delivery: &'a mut __tidings::Delivery,
            bus: &'a __tidings::Bus,
        ) -> impl ::core::future::Future<Output = __tidings::Outcome> + ::core::marker::Send + 'a {
            async move {
                match route {
                    #(#arms)*
                    _ => __tidings::Outcome::Done,
                }
            }
        }
    }
}

// Input:
//
//     routes![placed, module::quote]
//
// Output, without the absolute paths of standard items:
//
//     {
//         use ::tidings::__private as __tidings;
//         …                                                    // see `table`
//         struct __Routes<S>(S);
//         impl __Routes<()> { fn with_state<S>(self, state: S) -> __Routes<S> { __Routes(state) } }
//         impl<S: Send + Sync + 'static> __tidings::Router for __Routes<S>
//         where
//             placed: __tidings::Call<S>,
//             module::quote: __tidings::Call<S>,
//         { … }                                                // see `router_body`
//         __Routes(())
//     }
pub(super) fn routes(routes: &Routes, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let handlers = &routes.handlers;
    let spans = handlers.iter().map(|path| path.segments.last().map_or_else(Span::call_site, |last| last.ident.span()));
    let table = table(handlers, spans);
    let body = router_body(handlers, &quote!(__S), &quote_spanned!(Span::mixed_site()=> &self.0));
    quote! {{
        #[allow(unused_imports)]
        #import
        #table
        #[allow(missing_debug_implementations)]
        #[must_use = "a router receives nothing until it is served"]
        struct __Routes<__S>(__S);
        impl __Routes<()> {
            #[allow(dead_code)]
            fn with_state<__S>(self, state: __S) -> __Routes<__S> {
                __Routes(state)
            }
        }
        #[automatically_derived]
        impl<__S: ::core::marker::Send + ::core::marker::Sync + 'static> __tidings::Router for __Routes<__S>
        where
            #(#handlers: __tidings::Call<__S>,)*
        {
            #body
        }
        __Routes(())
    }}
}

// After an error the function is still a handler, so that no second error follows from the first.
pub(super) fn stub_handler(function: &ItemFn, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let (visibility, ident) = (&function.vis, &function.sig.ident);
    let name = ident.unraw().to_string();
    quote! {
        #[allow(warnings)]
        #[doc(hidden)]
        #visibility struct #ident {}

        #[allow(warnings)]
        const _: () = {
            #import
            impl __tidings::Handler for #ident {
                const ROUTE: __tidings::Route = __tidings::stub_route(#name, &[__tidings::Segment::literal(#name)]);
            }
            impl<__S: ::core::marker::Sync> __tidings::Call<__S> for #ident {
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

// After an error the type is still a router, so that no second error follows from the first.
pub(super) fn stub_router(block: &ItemImpl, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let self_type = &block.self_ty;
    let (impl_generics, _, where_clause) = block.generics.split_for_impl();
    quote! {
        #[allow(warnings)]
        const _: () = {
            #import
            impl #impl_generics __tidings::Router for #self_type #where_clause {
                const ROUTES: &'static [__tidings::Route] = &[];
                const LAYERS: &'static [::core::option::Option<fn() -> __tidings::HandlerLayer>] = &[];
                fn table() -> __tidings::RouteTable {
                    loop {}
                }
                fn dispatch<'a>(
                    &'a self,
                    _: ::core::primitive::usize,
                    _: &'a mut __tidings::Delivery,
                    _: &'a __tidings::Bus,
                ) -> impl ::core::future::Future<Output = __tidings::Outcome> + ::core::marker::Send + 'a {
                    ::core::future::ready(__tidings::Outcome::Done)
                }
            }
        };
    }
}

/// The name of a type as its users say it: `module::OrderPlaced` is an `OrderPlaced`.
fn last_name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.unraw().to_string()).unwrap_or_default(),
        other => other.to_token_stream().to_string(),
    }
}

/// The type with this lifetime where one is left out: `&Delivery` becomes `&'a Delivery`, `'_` becomes `'a`.
fn with_lifetime(ty: TokenStream, lifetime: &str) -> TokenStream {
    let name = lifetime.trim_start_matches('\'');
    let mut output = TokenStream::new();
    let mut tokens = ty.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let span = punct.span();
                output.extend([TokenTree::Punct(punct)]);
                if !matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'') {
                    output.extend(lifetime_tokens(name, span));
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => match tokens.next() {
                Some(TokenTree::Ident(ident)) if ident == "_" => output.extend(lifetime_tokens(name, ident.span())),
                next => {
                    output.extend([TokenTree::Punct(punct)]);
                    output.extend(next);
                }
            },
            TokenTree::Group(group) => {
                let mut inner = proc_macro2::Group::new(group.delimiter(), with_lifetime(group.stream(), lifetime));
                inner.set_span(group.span());
                output.extend([TokenTree::Group(inner)]);
            }
            other => output.extend([other]),
        }
    }
    output
}

fn lifetime_tokens(name: &str, span: Span) -> [TokenTree; 2] {
    let mut quote = Punct::new('\'', Spacing::Joint);
    quote.set_span(span);
    [TokenTree::Punct(quote), TokenTree::Ident(Ident::new(name, span))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_that_are_left_out_are_written() {
        let ty: TokenStream = quote!((&Delivery, &'b X, Y<'_>, &mut Z<'static>));
        let written = quote!((&'a Delivery, &'b X, Y<'a>, &'a mut Z<'static>));
        assert_eq!(with_lifetime(ty, "'a").to_string(), written.to_string());
    }
}
