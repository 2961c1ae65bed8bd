//! What manifests and inventories may say, Envoy takes: a rejection by one Envoy would hold back
//! everything else of that type.

use bowline_harness::{HttpBackend, Request, free_port};

use crate::world::{
    NAMESPACE, Protocol, World, answered, gateway_with_rules, http_services, loopback,
};

/// Rules at the edge of what is allowed, and beyond it: those beyond are Problems and answer 500 or are left out.
const STRANGE_RULES: &[&str] = &[
    // Paths.
    "{matches: [{path: {type: Exact, value: '/%41%zz'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: Exact, value: '/a?b#c'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: PathPrefix, value: '/ends/'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: PathPrefix, value: '/ü/ß'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: PathPrefix, value: '/a b'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: PathPrefix, value: '/*'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: PathPrefix, value: '/{id}'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: Exact, value: '/./..'}}], backendRefs: [{name: cart, port: 80}]}",
    // Regular expressions, some not RE2's.
    "{matches: [{path: {type: RegularExpression, value: '/(?!x)y'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/(a)\\1'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/a{1001}'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/((a{100}){100}){100}'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/[[:alpha:]]+'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/\\p{Greek}+'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/a**'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '(?P<n>/x)'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '(?<n>/x)'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/x(?#comment)'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/[a&&b]'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '(?x) / y'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/\\u{61}'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/\\<word\\>'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/(?u:x)'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/(?R)x'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/[\\w--a]'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: '/\\b{start}x'}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {type: RegularExpression, value: ''}}], backendRefs: [{name: cart, port: 80}]}",
    // Headers.
    "{matches: [{headers: [{name: Host, value: x}]}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{headers: [{name: ':path', value: /x}]}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{headers: [{name: 'X_y!', value: ''}]}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{headers: [{type: RegularExpression, name: x, value: '(?!a)'}]}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{headers: [{name: x, value: \"a\\nb\"}]}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{queryParams: [{name: 'a b', value: 'ü&='}]}], backendRefs: [{name: cart, port: 80}]}",
    "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: x}]}}], backendRefs: [{name: cart, port: 80}]}",
    "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: ':authority', value: x}]}}], backendRefs: [{name: cart, port: 80}]}",
    "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [host, ':path']}}], backendRefs: [{name: cart, port: 80}]}",
    "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: '%REQ(x)% 100% %NOPE%'}]}}], backendRefs: [{name: cart, port: 80}]}",
    "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x, value: \"a\\r\\nb\"}]}}], backendRefs: [{name: cart, port: 80}]}",
    "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x, value: 'ü'}], remove: [':status']}}], backendRefs: [{name: cart, port: 80}]}",
    // Redirects and rewrites.
    "{matches: [{path: {value: /r}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: \"/a\\\\1\\nb\"}}}]}",
    "{matches: [{path: {value: /r}}], filters: [{type: RequestRedirect, requestRedirect: {port: 65535, statusCode: 308, scheme: http}}]}",
    "{matches: [{path: {value: /w}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: '/a\\1?q=\\0'}}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {value: /w}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}], backendRefs: [{name: cart, port: 80}]}",
    "{matches: [{path: {value: '/w.x+(y)'}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}], backendRefs: [{name: cart, port: 80}]}",
    // Times, weights, nobody.
    "{timeouts: {request: 0s}, backendRefs: [{name: cart, port: 80}]}",
    "{timeouts: {request: 1ms, backendRequest: 1ms}, backendRefs: [{name: cart, port: 80}]}",
    "{timeouts: {request: 99999h}, backendRefs: [{name: cart, port: 80}]}",
    "{backendRefs: [{name: cart, port: 80, weight: 0}]}",
    "{backendRefs: [{name: cart, port: 80, weight: 1000000}, {name: nobody, port: 80, weight: 1000000}]}",
    "{backendRefs: [{name: cart, port: 81}]}",
    "{backendRefs: []}",
    "{matches: [{method: TRACE}], backendRefs: [{name: cart, port: 80}]}",
];

#[tokio::test]
async fn no_rule_makes_envoy_reject_what_others_say() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let port = free_port().unwrap();
    let good = gateway_with_rules(
        port,
        "[{matches: [{path: {value: /good}}], backendRefs: [{name: cart, port: 80}]}]",
    );
    let mut manifests = good;
    for (number, rule) in STRANGE_RULES.iter().enumerate() {
        manifests += &format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: strange-{number}, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{name: edge}}, {{group: '', kind: Service, name: strange}}]
  hostnames: ['s{number}.example']
  rules: [{rule}]
"
        );
    }
    let world = World::start(
        &http_services(&[("cart", &[cart.port()]), ("strange", &[cart.port()])]),
        &manifests,
    )
    .await;
    let gateway = world.gateway(Protocol::Delta).await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;

    answered(&Request::get(loopback(port), "good.example", "/good")).await;
    answered(&world.request_to("cart")).await;
    gateway.rejected_nothing().await.unwrap();
    sidecar.rejected_nothing().await.unwrap();
    let proxies = world.bowline.admin_json("/v1/proxies").await.unwrap();
    assert!(!proxies.to_string().contains("\"rejected\":{"), "{proxies}");
}

#[tokio::test]
async fn no_service_makes_envoy_reject_what_others_say() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let ports: Vec<_> = (0..3).map(|_| free_port().unwrap()).collect();
    let inventory = http_services(&[("cart", &[cart.port()])]);
    let (services, workloads) = inventory.split_once("workloads:\n").unwrap();
    let long = "a".repeat(63);
    let strange = format!(
        "{services}
- {{hostname: '{long}.{long}.{long}.example', ports: [{{number: 80, protocol: http}}]}}
- {{hostname: UPPER.example, ports: [{{number: 80, protocol: http}}]}}
- {{name: same-port-1, ports: [{{number: 9100, protocol: tcp, local_port: {p0}}}]}}
- {{name: same-port-2, ports: [{{number: 9100, protocol: tcp, local_port: {p0}}}]}}
- {{name: mixed-1, ports: [{{number: 9200, protocol: tls, local_port: {p1}}}]}}
- {{name: mixed-2, ports: [{{number: 9200, protocol: tcp, local_port: {p1}}}]}}
- {{name: every, ports: [{{number: 1, protocol: auto, local_port: {p2}}}, {{number: 65535, name: last, protocol: grpc}}]}}
- {{name: v6, addresses: ['2001:db8::1'], ports: [{{number: 80, protocol: http}}]}}
- {{name: twice, addresses: [10.1.1.1, 10.1.1.1], ports: [{{number: 80, protocol: http}}]}}
- {{name: shared-1, addresses: [10.1.1.2], ports: [{{number: 81, protocol: tcp}}]}}
- {{name: shared-2, addresses: [10.1.1.2], ports: [{{number: 81, protocol: tcp}}]}}
- {{name: on-the-way, addresses: [127.0.0.1], ports: [{{number: 15001, protocol: tcp}}, {{number: 15006, name: b, protocol: http}}]}}
- {{name: checked, ports: [{{number: 82, protocol: http}}], health_check: {{http: {{path: '/ü?x=1', host: 'a b'}}, interval: 1ms, timeout: 1h}}}}
- {{name: limited, ports: [{{number: 83, protocol: http}}], traffic: {{connect_timeout: 1ms, connections_max: 0, retries_max: 4294967295}}}}
- {{name: direct, ports: [{{number: 84, protocol: tcp}}], headless: true}}
workloads:
{workloads}
- {{name: six, address: '2001:db8::2', services: [v6, cart], ports: {{http: 80}}}}
- {{name: mapped, address: '::ffff:10.0.0.1', services: [v6], ports: {{http: 80}}}}
- {{name: heavy-1, address: 10.2.0.1, services: [limited], ports: {{http: 1}}, weight: 4294967295}}
- {{name: heavy-2, address: 10.2.0.2, services: [limited], ports: {{http: 1}}, weight: 4294967295}}
- {{name: same-1, address: 10.2.0.3, services: [limited], ports: {{http: 1}}}}
- {{name: same-2, address: 10.2.0.3, services: [limited], ports: {{http: 1}}}}
- {{name: dns-1, address: a.example, services: [checked], ports: {{http: 1}}}}
- {{name: dns-2, address: 10.2.0.4, services: [checked], ports: {{http: 1}}}}
- {{name: socket, address: 'unix:/{socket}', services: [every], ports: {{auto: 1, last: 1}}}}
",
        p0 = ports[0],
        p1 = ports[1],
        p2 = ports[2],
        socket = "s".repeat(200),
    );
    let world = World::start(&strange, "").await;
    for capture in ["explicit", "transparent"] {
        let node = [
            "--role",
            "sidecar",
            "--name",
            "caller",
            "--capture",
            capture,
        ];
        let mut sidecar = world.envoy(capture, &node, Protocol::Delta).await;
        sidecar.ready().await.unwrap();
        if capture == "explicit" {
            answered(&world.request_to("cart")).await;
        }
        sidecar.rejected_nothing().await.unwrap();
        sidecar.kill().await.unwrap();
    }
}
