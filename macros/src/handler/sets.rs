//! What sets of handlers generate: `#[router]`, `routes![…]` and `routers![…]`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, ItemImpl, Path, Token, Type, parse::Parser, punctuated::Punctuated, spanned::Spanned};

use super::{
    expand::{call_body, facts, is_rustc},
    inherited::by_uses,
    model::{Router, Routers, Routes},
};
use crate::{
    attr::{self, Runtime},
    tokens::{generated_path, last_name, with_static_lifetimes},
};

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
//         const _: () = {                                      // with the attributes of the method
//             impl __tidings::Handler for __Handler0 { … }     // see `facts`
//             impl __tidings::Call<Shop> for __Handler0        // see `call_body`
//             where
//                 for<'a> Shop: Send + Sync + 'static,
//             { … }
//         };
//         …                                                    // see `proven_routes`
//         impl __tidings::Router for Shop                      // see `router_body`
//         where
//             for<'a> Shop: Send + Sync + 'static,
//         { … }
//     };
pub(super) fn router(router: &Router, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let Router { on_uses, generics, self_type, handlers } = router;
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
    let name = last_name(self_type);
    let markers: Vec<Ident> =
        (0..handlers.len()).map(|index| Ident::new(&handler_name(index), Span::call_site())).collect();
    let calls = markers.iter().zip(handlers).map(|(marker, handler)| {
        let facts = facts(handler, marker, Some(&name));
        let (ident, on_uses) = (&handler.ident, &handler.on_uses);
        let body = call_body(handler, &quote!(<#self_type>::#ident), &state);
        quote! {
            struct #marker {}
            #(#on_uses)*
            const _: () = {
                #facts
                #[automatically_derived]
                impl #impl_generics __tidings::Call<#state> for #marker #shared { #body }
            };
        }
    });
    let calls: TokenStream = calls.collect();
    let proven_routes = proven_routes(&markers, handlers.iter().map(|handler| handler.ident.span()));
    let body = router_body(&markers, &state, &quote_spanned!(Span::mixed_site()=> self));
    quote! {
        #(#on_uses)*
        const _: () = {
            #import
            #calls
            #proven_routes
            #[automatically_derived]
            impl #impl_generics __tidings::Router for #self_type #shared { #body }
        };
    }
}

// Output:
//
//     const __ROUTES: &[__tidings::Route] = &[<placed as __tidings::Handler>::ROUTE, …];
//     const _: () = __tidings::prove(__ROUTES, 1);            // at the name of the second handler
/// The routes are a constant *reference*: each use of a constant array would be a copy of it, in time that grows with the square.
fn proven_routes<T: ToTokens>(handlers: &[T], spans: impl Iterator<Item = Span>) -> TokenStream {
    let proofs =
        spans.enumerate().map(|(index, span)| quote_spanned!(span=> const _: () = __tidings::prove(__ROUTES, #index);));
    quote! {
        const __ROUTES: &[__tidings::Route] = &[#(<#handlers as __tidings::Handler>::ROUTE),*];
        #(#proofs)*
    }
}

// Output, `state` being the state's type and `value` a reference to it:
//
//     const ROUTES: __tidings::Routes = __tidings::Routes::of(__ROUTES);
//     fn layers() -> Vec<Option<fn() -> __tidings::HandlerLayer>> { Vec::from([<placed as __tidings::Handler>::LAYER, …]) }
//     fn endings() -> Vec<__tidings::Endings> { Vec::from([<placed as __tidings::Handler>::ENDINGS, …]) }
//     fn dispatch<'a>(&'a self, route: usize, delivery: …, bus: …) -> impl Future<Output = __tidings::Outcome> + Send + 'a {
//         async move {
//             let (bus, delivery) = (bus, delivery);
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
        type Itself = Self;

        const ROUTES: __tidings::Routes = __tidings::Routes::of(__ROUTES);

        fn itself(self) -> Self {
            self
        }

        fn layers() -> ::std::vec::Vec<::core::option::Option<fn() -> __tidings::HandlerLayer>> {
            <::std::vec::Vec<_> as ::core::convert::From<_>>::from([#(<#handlers as __tidings::Handler>::LAYER),*])
        }

        fn endings() -> ::std::vec::Vec<__tidings::Endings> {
            <::std::vec::Vec<_> as ::core::convert::From<_>>::from([#(<#handlers as __tidings::Handler>::ENDINGS),*])
        }

        fn dispatch<'a>(
            &'a self,
            route: ::core::primitive::usize,
            delivery: &'a mut __tidings::Delivery,
            bus: &'a __tidings::Bus,
        ) -> impl ::core::future::Future<Output = __tidings::Outcome> + ::core::marker::Send + 'a {
            async move {
                // Captured in this order, the two are not next to each other as in the call's future: a copy of both at once would wait for the
                // writes of each.
                let (bus, delivery) = (bus, delivery);
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
//         each_function_in_routes_needs_the_attribute_handler! { placed, module::quote }       // see `aliases`
//         …                                                    // see `proven_routes`
//         struct __Routes<S>(S);
//         impl __Routes<()> { fn with_state<S>(self, state: S) -> __Routes<S> { __Routes(state) } }
//         impl<S> __Routes<S> { fn merge<'a, R>(self, _: R) -> Self where (): __tidings::MergedByItself<'a> { self } }    // never compiles
//         impl<S: __tidings::SharedState> __tidings::Router for __Routes<S>
//         where
//             __Handler0: __tidings::Call<S>,                  // at `placed`
//             __Handler1: __tidings::Call<S>,
//         { … }                                                // see `router_body`
//         __Routes(())
//     }
pub(super) fn routes(routes: &Routes, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let paths = &routes.handlers;
    let spans: Vec<Span> =
        paths.iter().map(|path| path.segments.last().map_or_else(Span::call_site, |last| last.ident.span())).collect();
    let handlers: Vec<Ident> =
        spans.iter().enumerate().map(|(index, span)| Ident::new(&handler_name(index), *span)).collect();
    let aliases = aliases(paths);
    let proven_routes = proven_routes(&handlers, spans.into_iter());
    let body = router_body(&handlers, &quote!(__S), &quote_spanned!(Span::mixed_site()=> &self.0));
    quote! {{
        #import
        #aliases
        #proven_routes
        #[must_use = "a router receives nothing until it is served"]
        struct __Routes<__S>(__S);
        impl __Routes<()> {
            fn with_state<__S>(self, state: __S) -> __Routes<__S> {
                __Routes(state)
            }
        }
        impl<__S> __Routes<__S> {
            fn merge<'__a, __R>(self, _: __R) -> Self
            where
                (): __tidings::MergedByItself<'__a>,
            {
                self
            }
        }
        #[automatically_derived]
        impl<__S: __tidings::SharedState> __tidings::Router for __Routes<__S>
        where
            #(#handlers: __tidings::Call<__S>,)*
        {
            #body
        }
        __Routes(())
    }}
}

fn handler_name(index: usize) -> String {
    format!("__Handler{index}")
}

// Input of the macro that is generated:
//
//     each_function_in_routes_needs_the_attribute_handler! { placed, module::quote }
//
// Output:
//
//     type __Handler0 = placed;
//     type __Handler1 = module::quote;
/// What rustc says of a name that is no handler are its own words, but it adds the macro that has written the name: here one whose name is the
/// advice. An editor, which expands macros too, finds what a name stands for by who has written it; so to everybody else it is the user.
fn aliases(paths: &[Path]) -> TokenStream {
    if !is_rustc() {
        return aliases_of(paths.iter().map(ToTokens::to_token_stream));
    }
    quote! {
        use __tidings::each_function_in_routes_needs_the_attribute_handler;
        each_function_in_routes_needs_the_attribute_handler! { #(#paths),* }
    }
}

pub(super) fn named_handlers(paths: TokenStream) -> TokenStream {
    let paths = Punctuated::<Path, Token![,]>::parse_terminated.parse2(paths);
    aliases_of(paths.into_iter().flatten().map(|path| generated_path(path.into_token_stream())))
}

fn aliases_of(paths: impl Iterator<Item = TokenStream>) -> TokenStream {
    let aliases = paths.enumerate().map(|(index, path)| {
        let name = Ident::new(&handler_name(index), Span::call_site());
        quote!(type #name = #path;)
    });
    aliases.collect()
}

// Input:
//
//     routers![shop, pay]
//
// Output, without the absolute paths of standard items:
//
//     {
//         use ::tidings::__private as __tidings;
//         let routers = __tidings::first(shop);
//         let routers = __tidings::join(routers, pay);
//         struct __Proof1<R>(R);
//         impl<R: __tidings::Router> __Proof1<R> {
//             const PROVEN: PhantomData<R> = __tidings::prove_joined();        // at `pay`
//         }
//         let __Proof1::<_>::PROVEN = __tidings::type_of(&routers);
//         routers
//     }
/// The macro knows the values and not their types, and a constant of a generic type is evaluated only where code is made of it, which `cargo
/// check` does not do. A constant in a pattern must be known when the pattern is checked, so there it is evaluated for the type that was inferred.
pub(super) fn routers(routers: &Routers, runtime: &Runtime) -> TokenStream {
    let import = runtime.import();
    let site = Span::mixed_site();
    // A `$router:expr` of a macro is where it was written, and not where the macro uses it.
    let place = |member: &Expr| attr::ungrouped(member).span();
    let mut members = routers.members.iter();
    let first = members.next().map(|member| quote_spanned!(place(member)=> __tidings::first(#member)));
    let joined = members.enumerate().map(|(index, member)| {
        let span = place(member);
        let routers = Ident::new("routers", site.located_at(span));
        let join = quote_spanned!(span=> __tidings::join(#routers, #member));
        let proof = Ident::new(&format!("__Proof{}", index + 1), span);
        let proven = quote_spanned!(span=> __tidings::prove_joined::<__R>());
        let pattern = quote_spanned!(span=> #proof::<_>::PROVEN);
        quote_spanned! {site=>
            let routers = #join;
            struct #proof<__R>(__R);
            impl<__R: __tidings::Router> #proof<__R> {
                const PROVEN: ::core::marker::PhantomData<__R> = #proven;
            }
            let #pattern = __tidings::type_of(&routers);
        }
    });
    quote_spanned! {site=> {
        #import
        let routers = #first;
        #(#joined)*
        routers
    }}
}

// After an error the type is still a router, so that no second error follows from the first.
pub(super) fn stub_router(block: &ItemImpl, runtime: &Runtime) -> TokenStream {
    if !matches!(attr::ungrouped_type(&block.self_ty), Type::Path(_) | Type::Macro(_)) {
        return TokenStream::new();
    }
    let on_uses = by_uses(&block.attrs);
    let import = runtime.import();
    let self_type = with_static_lifetimes(block.self_ty.to_token_stream());
    let mut generics = block.generics.clone();
    generics.params =
        generics.params.into_iter().filter(|parameter| !matches!(parameter, syn::GenericParam::Lifetime(_))).collect();
    let (impl_generics, _, _) = generics.split_for_impl();
    let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let predicates = predicates.map(|predicate| with_static_lifetimes(predicate.to_token_stream()));
    quote! {
        #(#on_uses)*
        const _: () = {
            #import
            impl #impl_generics __tidings::Router for #self_type
            where
                #(#predicates,)*
                for<'__a> #self_type: ::core::marker::Send + ::core::marker::Sync + 'static,
            {
                type Itself = Self;
                const ROUTES: __tidings::Routes = __tidings::Routes::of(&[]);
                fn itself(self) -> Self {
                    self
                }
                fn layers() -> ::std::vec::Vec<::core::option::Option<fn() -> __tidings::HandlerLayer>> {
                    ::std::vec::Vec::new()
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
