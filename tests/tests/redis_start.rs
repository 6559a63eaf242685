//! Which Redis a queue takes and which it refuses, in words that say what to change and never show a password.

use beatmesh_node::config::Durability;
use beatmesh_node::queue::TaskQueue;
use beatmesh_node::queue::redis::RedisSettings;
use beatmesh_tests::redis_queue::{TestQueue, replicated, settings};
use beatmesh_tests::servers::{Cluster, MASTER, PASSWORD, Redis, Sentinels};

/// What is said of a server, or of settings, that will not do.
async fn refusal(settings: RedisSettings) -> String {
    let said = match TestQueue::try_open(settings).await {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.to_string(),
    };
    println!("{said}");
    assert!(!said.contains(PASSWORD), "a password: {said}");
    said
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_check() {
    let server = Redis::start_with(&[("requirepass", PASSWORD)]);
    let addr = server.addr();
    // As docs/settings.md says.
    let may = ["~{beatmesh:m}:*", "+@all", "-@dangerous", "+info", "+role"];
    let password = format!(">{PASSWORD}-2");
    server.cli(&[&["acl", "setuser", "mesh", "on", &password], &may[..]].concat());
    server.cli(&["acl", "setuser", "reader", "on", &format!(">{PASSWORD}-3"), "~*", "+@read", "+ping"]);
    let logins = [format!(":{PASSWORD}@"), format!("default:{PASSWORD}@"), format!("mesh:{PASSWORD}-2@")];
    for (number, login) in (1..).zip(logins) {
        let queue = TestQueue::open(settings(&format!("redis://{login}{addr}"))).await;
        queue.until_enqueued(number).await;
        assert_eq!(queue.work_off(1).await, [number]);
        queue.0.sweep(3).await.expect("swept");
    }
    for login in ["", &format!(":{PASSWORD}-wrong@"), &format!("nobody:{PASSWORD}@")] {
        let said = refusal(settings(&format!("redis://{login}{addr}"))).await;
        assert_says(&said, &["check user and password", &addr.to_string()]);
    }
    let said = refusal(settings(&format!("redis://reader:{PASSWORD}-3@{addr}"))).await;
    assert_says(&said, &["'role'", "give the user that permission"]);
}

#[tokio::test]
async fn servers_that_cannot_keep_the_promise_are_refused() {
    let server = Redis::start_with(&[("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")]);
    let said = refusal(settings(&server.url())).await;
    assert_says(&said, &["allkeys-lru", "set it to noeviction", &server.addr().to_string()]);
    server.config_set("maxmemory-policy", "noeviction");
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");

    // This machine's Redis is older than what `disk` needs.
    let disk = RedisSettings { durability: Durability::Disk, ..settings(&server.url()) };
    assert_says(&refusal(disk).await, &["7.0", "disk", "7.2 or later"]);

    let said = refusal(settings(&format!("{}/99", server.url()))).await;
    assert_says(&said, &["DB index is out of range"]);
    let said = refusal(settings(&format!("redis+cluster://{}", server.addr()))).await;
    assert_says(&said, &["not a node of a cluster"]);
    let said = refusal(settings(&format!("redis+sentinel://{}/{MASTER}", server.addr()))).await;
    assert_says(&said, &["is not a sentinel"]);
}

#[tokio::test]
async fn two_databases_of_one_server_are_two_queues_and_two_catalogues_do_not_share_one() {
    let server = Redis::start();
    let (first, second) = (settings(&server.url()), settings(&format!("{}/3", server.url())));
    let (first, second) = (TestQueue::open(first).await, TestQueue::open(second).await);
    first.enqueue(1).await.expect("enqueued");
    assert_eq!(second.state(1).await, None);
    assert_eq!(first.work_off(1).await, [1]);
    let other = RedisSettings { store_id: "another-database".to_owned(), ..settings(&server.url()) };
    let said = refusal(other).await;
    assert_says(&said, &["another mesh of this name", "`a-database`", "`another-database`"]);
    let other = RedisSettings {
        mesh: "n".to_owned(),
        store_id: "another-database".to_owned(),
        ..settings(&server.url())
    };
    let other = TestQueue::open(other).await;
    assert_eq!(other.state(1).await, None, "another name is another queue");
}

#[tokio::test]
async fn what_is_no_redis_is_refused() {
    let no_redis = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    let addr = no_redis.local_addr().expect("it is bound");
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = no_redis.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1_024]).await;
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            });
        }
    });
    let said = refusal(settings(&format!("redis://:{PASSWORD}@{addr}"))).await;
    assert_says(&said, &["Redis", &addr.to_string()]);
    let said = refusal(settings(&format!("redis://{addr}"))).await;
    assert_says(&said, &["Redis", &addr.to_string()]);
    answering.abort();
}

#[tokio::test]
async fn sentinels_and_clusters_say_what_they_do_not_know_and_let_in_who_has_the_password() {
    let server = Redis::start_with(&[("requirepass", PASSWORD)]);
    let sentinels = Sentinels::start(1, &server, 1);
    let with_login = sentinels.url(MASTER).replace("://", &format!("://:{PASSWORD}@"));
    let queue = TestQueue::open(settings(&with_login)).await;
    queue.enqueue(1).await.expect("enqueued");
    assert_says(&refusal(settings(&sentinels.url(MASTER))).await, &["check user and password"]);
    assert_says(&refusal(settings(&sentinels.url("nobody"))).await, &["knows no master `nobody`"]);
    drop((queue, sentinels));
    let cluster = Cluster::start();
    // Redirected to the owner of the slot, whoever is asked first.
    for node in &cluster.nodes {
        let queue = TestQueue::open(settings(&format!("redis+cluster://{}", node.addr()))).await;
        assert!(queue.0.now().await.is_ok());
    }
    // As if it stood alone: its keys may be another node's.
    let owner = cluster.owner("{beatmesh:m}:");
    let stranger = cluster.masters().into_iter().find(|node| *node != owner).expect("there are three");
    let said = refusal(settings(&cluster.nodes[stranger].url())).await;
    assert_says(&said, &["redis+cluster://"]);
}

#[tokio::test]
async fn replicated_waits_for_its_replicas() {
    let (server, replica) = (Redis::start(), Redis::start());
    let opening = tokio::spawn(TestQueue::try_open(replicated(&server.url(), 1)));
    // Long enough to be refused; that it waits cannot be seen otherwise.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!opening.is_finished(), "nothing could be acknowledged");
    replica.replica_of(&server);
    let queue = TestQueue(opening.await.expect("it does not panic").expect("opened"));
    queue.enqueue(1).await.expect("enqueued");
    assert_eq!(
        replica.cli(&["exists", &format!("{{beatmesh:m}}:task:{}", beatmesh_tests::redis_queue::id(1))]),
        "1"
    );
}

#[tokio::test]
async fn an_encrypted_server_must_show_a_certificate_of_an_authority_that_is_trusted() {
    let server = Redis::start_encrypted(&[("requirepass", PASSWORD)]);
    let queue = TestQueue::open(settings(&server.url())).await;
    queue.enqueue(1).await.expect("enqueued");
    assert_eq!(queue.work_off(1).await, [1]);

    let other = Redis::start_encrypted(&[]);
    let strange = format!("rediss://:{PASSWORD}@{}?ca={}", server.addr(), other.ca().display());
    assert_says(&refusal(settings(&strange)).await, &["TLS", "certificate"]);
    let by_name = format!("rediss://:{PASSWORD}@localhost:{}?ca={}", server.port(), server.ca().display());
    assert_says(&refusal(settings(&by_name)).await, &["TLS", "not valid for name"]);
    let missing = format!("rediss://:{PASSWORD}@{}?ca=/nowhere/ca.pem", server.addr());
    assert_says(&refusal(settings(&missing)).await, &["/nowhere/ca.pem"]);
}
