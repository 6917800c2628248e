//! Routers that consist of others: behind a pointer, or several that are served as one.

use std::{marker::PhantomData, sync::Arc};

use crate::{
    bus::handle::Bus,
    handler::{contract::Router, ending::Endings, layer::HandlerLayer, outcome::Outcome},
    message::delivery::Delivery,
    route::{proof, routes::Routes},
};

macro_rules! pointer {
    ($pointer:ty) => {
        #[diagnostic::do_not_recommend]
        impl<R: Router> Router for $pointer {
            type Itself = Self;

            const ROUTES: Routes = R::ROUTES;

            fn itself(self) -> Self {
                self
            }

            fn layers() -> Vec<Option<fn() -> HandlerLayer>> {
                R::layers()
            }

            fn endings() -> Vec<Endings> {
                R::endings()
            }

            fn dispatch<'a>(
                &'a self,
                route: usize,
                delivery: &'a mut Delivery,
                bus: &'a Bus,
            ) -> impl Future<Output = Outcome> + Send + 'a {
                R::dispatch(self, route, delivery, bus)
            }
        }
    };
}

pointer!(Arc<R>);
pointer!(Box<R>);
pointer!(&'static R);

/// What `merge` asks of `routes![…]`. Nothing implements it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "routers are served as one in `routers![…]`, which proves them together",
    label = "write `routers![…]` with both of them",
    note = "free handlers of several modules stand in one `routes![placed, shipping::sent]`"
)]
pub trait MergedByItself<'a> {}

/// The first router of `routers![…]`.
#[doc(hidden)]
pub fn first<R: Router>(router: R) -> R::Itself {
    router.itself()
}

/// The routers so far, and one more.
#[doc(hidden)]
pub fn join<A, B: Router>(routers: A, router: B) -> Both<A, B::Itself> {
    Both(routers, router.itself())
}

/// Two routers that are served as one.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "a router receives nothing until it is served"]
pub struct Both<A, B>(A, B);

#[diagnostic::do_not_recommend]
impl<A: Router, B: Router> Router for Both<A, B> {
    type Itself = Self;

    const ROUTES: Routes = Routes::of_members(&[A::ROUTES, B::ROUTES]);

    fn itself(self) -> Self {
        self
    }

    fn layers() -> Vec<Option<fn() -> HandlerLayer>> {
        [A::layers(), B::layers()].concat()
    }

    fn endings() -> Vec<Endings> {
        let mut endings = A::endings();
        endings.resize(A::ROUTES.len(), Endings::NONE);
        endings.extend(B::endings());
        endings
    }

    async fn dispatch(&self, route: usize, delivery: &mut Delivery, bus: &Bus) -> Outcome {
        match route.checked_sub(A::ROUTES.len()) {
            None => self.0.dispatch(route, delivery, bus).await,
            Some(route) => self.1.dispatch(route, delivery, bus).await,
        }
    }
}

/// The type of a value that `routers![…]` knows no type of.
#[doc(hidden)]
#[must_use]
pub fn type_of<R>(_: &R) -> PhantomData<R> {
    PhantomData
}

/// The proof that the router that was joined last takes no channel of those before it, as a pattern for the type.
///
/// # Panics
///
/// In constant evaluation only, with the text of the compile error.
#[doc(hidden)]
#[must_use]
#[track_caller]
pub const fn prove_joined<R: Router>() -> PhantomData<R> {
    proof::prove_joined(R::ROUTES);
    PhantomData
}
