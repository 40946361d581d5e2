using Workerd = import "/workerd/workerd.capnp";

# Every class keeps its objects as SQLite files on the local disk. The addresses and the folder are given on the command line.
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "objects", disk = (writable = true)),
  ],
  sockets = [(name = "http", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-01-01",
  durableObjectNamespaces = [
    (className = "Counter", uniqueKey = "bench-counter", enableSql = true),
    (className = "Relay", uniqueKey = "bench-relay", enableSql = true),
    (className = "RateLimiter", uniqueKey = "bench-limiter", enableSql = true),
    (className = "ChatRoom", uniqueKey = "bench-room", enableSql = true),
    (className = "Subject", uniqueKey = "bench-subject", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [
    (name = "COUNTERS", durableObjectNamespace = "Counter"),
    (name = "RELAYS", durableObjectNamespace = "Relay"),
    (name = "LIMITERS", durableObjectNamespace = "RateLimiter"),
    (name = "ROOMS", durableObjectNamespace = "ChatRoom"),
    (name = "SUBJECTS", durableObjectNamespace = "Subject"),
    (name = "POLICIES", json = "{\"bench-open\": [1000000, 60], \"bench-shut\": [1, 3600]}"),
  ],
);
