//! What an HTTPRoute says is what a gateway does.

use bowline_harness::{Answer, Envoy, HttpBackend, Request, eventually, free_port};
use http::Method;

use crate::world::{Protocol, World, answered, gateway_with_rules, http_services, loopback};

/// A gateway with rules over two services, `cart` and `catalog`.
struct Edge {
    _backends: [HttpBackend; 2],
    gateway: Envoy,
    _world: World,
    port: u16,
}

impl Edge {
    async fn with_rules(rules: &str) -> Self {
        let backends = [
            HttpBackend::start("cart").await.unwrap(),
            HttpBackend::start("catalog").await.unwrap(),
        ];
        let port = free_port().unwrap();
        let [cart, catalog] = [backends[0].port(), backends[1].port()];
        let inventory = http_services(&[("cart", &[cart]), ("catalog", &[catalog])]);
        let world = World::start(&inventory, &gateway_with_rules(port, rules)).await;
        let gateway = world.gateway(Protocol::Delta).await;
        let edge = Self {
            _backends: backends,
            gateway,
            _world: world,
            port,
        };
        eventually("the gateway listens", async || edge.get("/").send().await)
            .await
            .unwrap();
        edge
    }

    fn get(&self, path: &str) -> Request {
        Request::get(loopback(self.port), "shop.example", path)
    }

    async fn ask(&self, request: Request) -> Answer {
        let answer = request.send().await.unwrap();
        self.gateway.rejected_nothing().await.unwrap();
        answer
    }
}

#[tokio::test]
async fn the_most_specific_path_wins() {
    let edge = Edge::with_rules(
        "
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{name: cart, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /catalog}}]
    backendRefs: [{name: catalog, port: 80}]
  - matches: [{path: {type: Exact, value: /catalog/cart}}]
    backendRefs: [{name: cart, port: 80}]
  - matches: [{path: {type: RegularExpression, value: '/items/[0-9]+'}}]
    backendRefs: [{name: catalog, port: 80}]",
    )
    .await;
    for (path, backend) in [
        ("/", "cart"),
        ("/catalog", "catalog"),
        ("/catalog/", "catalog"),
        ("/catalog?x=1", "catalog"),
        ("/catalogue", "cart"),
        ("/catalog/cart", "cart"),
        ("/catalog/cart/more", "catalog"),
        ("/items/12", "catalog"),
        ("/items/12/more", "cart"),
    ] {
        let answer = answered(&edge.get(path)).await;
        assert_eq!(answer.backend(), Some(backend), "{path}");
    }
    edge.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn headers_methods_and_queries_choose() {
    let edge = Edge::with_rules(
        "
  - backendRefs: [{name: cart, port: 80}]
  - matches: [{headers: [{name: x-version, value: two}]}]
    backendRefs: [{name: catalog, port: 80}]
  - matches: [{method: DELETE}]
    backendRefs: [{name: catalog, port: 80}]
  - matches: [{queryParams: [{name: version, value: two}]}]
    backendRefs: [{name: catalog, port: 80}]
  - matches: [{headers: [{type: RegularExpression, name: x-user, value: 'test-.*'}]}]
    backendRefs: [{name: catalog, port: 80}]",
    )
    .await;
    let get = || edge.get("/");
    for (request, backend) in [
        (get(), "cart"),
        (get().header("x-version", "two"), "catalog"),
        (get().header("x-version", "three"), "cart"),
        (get().method(Method::DELETE), "catalog"),
        (edge.get("/?version=two"), "catalog"),
        (edge.get("/?version=twofold"), "cart"),
        (get().header("x-user", "test-1"), "catalog"),
        (get().header("x-user", "a-test-1"), "cart"),
    ] {
        let answer = answered(&request).await;
        assert_eq!(answer.backend(), Some(backend), "{request:?}");
    }
}

#[tokio::test]
async fn redirects_say_where_to_go() {
    let edge = Edge::with_rules(
        "
  - matches: [{path: {value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: new.example, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
  - backendRefs: [{name: cart, port: 80}]",
    )
    .await;
    let answer = edge.ask(edge.get("/old/item?x=1")).await;
    assert_eq!(answer.status.as_u16(), 301);
    let location = answer.header("location").unwrap();
    assert!(location.starts_with("https://new.example"), "{location}");
    assert!(location.ends_with("/new/item?x=1"), "{location}");
}

#[tokio::test]
async fn paths_hosts_and_headers_are_rewritten() {
    let edge = Edge::with_rules(
        "
  - matches: [{path: {value: /shop}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: cart.internal, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: x-set, value: new}], add: [{name: x-added, value: more}], remove: [x-secret]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-answered-by, value: edge}], remove: [x-backend]}
    backendRefs: [{name: cart, port: 80}]
  - matches: [{path: {value: /root}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: cart, port: 80}]
  - matches: [{path: {value: /full}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}
    backendRefs: [{name: cart, port: 80}]",
    )
    .await;
    let request = edge
        .get("/shop/item?x=1")
        .header("x-set", "old")
        .header("x-added", "first")
        .header("x-secret", "s");
    let answer = eventually("the backend answers", async || {
        let answer = request.send().await.map_err(|error| format!("{error:#}"))?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(format!("status {}", answer.status))
        }
    })
    .await
    .unwrap();
    let echo = answer.json().unwrap();
    assert_eq!(echo["path"], "/v2/item?x=1");
    assert_eq!(echo["host"], "cart.internal");
    assert_eq!(echo["headers"]["x-set"], "new");
    assert_eq!(echo["headers"]["x-added"], "first,more");
    assert!(echo["headers"]["x-secret"].is_null(), "{echo}");
    assert_eq!(answer.header("x-answered-by"), Some("edge"));
    assert_eq!(
        answer.backend(),
        None,
        "the answer's header was to be removed"
    );

    for (path, rewritten) in [
        ("/root/item", "/item"),
        ("/root", "/"),
        ("/root/", "/"),
        ("/full/item?x=1", "/all?x=1"),
    ] {
        let echo = answered(&edge.get(path)).await.json().unwrap();
        assert_eq!(echo["path"], rewritten, "{path}");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let edge = Edge::with_rules(
        "
  - matches: [{path: {value: /slow}}]
    timeouts: {request: 100ms}
    backendRefs: [{name: cart, port: 80}]
  - backendRefs: [{name: cart, port: 80}]",
    )
    .await;
    let slow = edge
        .ask(edge.get("/slow").header("x-delay-ms", "3000"))
        .await;
    assert_eq!(slow.status.as_u16(), 504);
    assert_eq!(
        answered(&edge.get("/").header("x-delay-ms", "300"))
            .await
            .backend(),
        Some("cart")
    );
}

#[tokio::test]
async fn hosts_choose_and_an_unknown_one_is_not_found() {
    let port = free_port().unwrap();
    let cart = HttpBackend::start("cart").await.unwrap();
    let catalog = HttpBackend::start("catalog").await.unwrap();
    let inventory = http_services(&[("cart", &[cart.port()]), ("catalog", &[catalog.port()])]);
    let exact = gateway_with_rules(port, "[{backendRefs: [{name: cart, port: 80}]}]")
        .replace("rules:", "hostnames: [cart.example]\n  rules:");
    let wildcard = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wildcard, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: ['*.example']
  rules: [{backendRefs: [{name: catalog, port: 80}]}]
";
    let world = World::start(&inventory, &format!("{exact}{wildcard}")).await;
    let _gateway = world.gateway(Protocol::Delta).await;
    let to = |host: &str| Request::get(loopback(port), host, "/");
    assert_eq!(answered(&to("cart.example")).await.backend(), Some("cart"));
    assert_eq!(
        answered(&to("other.example")).await.backend(),
        Some("catalog")
    );
    assert_eq!(
        answered(&to("a.b.example")).await.backend(),
        Some("catalog")
    );
    let unknown = to("cart.other").send().await.unwrap();
    assert_eq!(unknown.status.as_u16(), 404);
}

#[tokio::test]
async fn a_service_as_parent_routes_the_calls_of_sidecars() {
    let one = HttpBackend::start("one").await.unwrap();
    let two = HttpBackend::start("two").await.unwrap();
    let services: &[(&str, &[u16])] = &[("cart", &[one.port()]), ("cart-v2", &[two.port()])];
    let manifests = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: cart}]
  rules:
  - matches: [{headers: [{name: x-version, value: two}]}]
    backendRefs: [{name: cart-v2, port: 80}]
  - backendRefs: [{name: cart, port: 80}]
";
    let world = World::start(&http_services(services), manifests).await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    let request = world.request_to("cart");
    assert_eq!(answered(&request).await.backend(), Some("one"));
    let tagged = request.header("x-version", "two");
    assert_eq!(answered(&tagged).await.backend(), Some("two"));
}
