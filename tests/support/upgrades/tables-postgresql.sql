CREATE TABLE webhooks_endpoint (
    id VARCHAR(32) NOT NULL,
    tenant VARCHAR(255),
    name VARCHAR(200) NOT NULL,
    description VARCHAR(2000) NOT NULL,
    url_shown VARCHAR(2048) NOT NULL,
    url_sealed VARCHAR,
    format VARCHAR(64) NOT NULL,
    events VARCHAR,
    secrets_sealed VARCHAR,
    headers_sealed VARCHAR,
    user_agent VARCHAR(256),
    options VARCHAR,
    timeout DOUBLE PRECISION,
    rate_limit DOUBLE PRECISION,
    bucket VARCHAR(64),
    ordered BOOLEAN NOT NULL,
    state VARCHAR(16) NOT NULL,
    state_reason VARCHAR(500),
    state_actor VARCHAR(255),
    state_since TIMESTAMP WITH TIME ZONE,
    idempotency_digest VARCHAR(64),
    idempotency_request VARCHAR(64),
    version INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT uq_webhooks_endpoint_idempotency UNIQUE (idempotency_digest)
);
CREATE INDEX ix_webhooks_endpoint_bucket ON webhooks_endpoint (bucket);
CREATE INDEX ix_webhooks_endpoint_deleted ON webhooks_endpoint (deleted_at);
CREATE INDEX ix_webhooks_endpoint_tenant ON webhooks_endpoint (tenant, id);
CREATE TABLE webhooks_endpoint_health (
    endpoint_id VARCHAR(32) NOT NULL,
    consecutive_failures INTEGER NOT NULL,
    failing_since TIMESTAMP WITH TIME ZONE,
    last_failure_at TIMESTAMP WITH TIME ZONE,
    last_success_at TIMESTAMP WITH TIME ZONE,
    probe_interval DOUBLE PRECISION,
    hold_until TIMESTAMP WITH TIME ZONE,
    hold_reason VARCHAR(64),
    warned INTEGER NOT NULL,
    slow BOOLEAN NOT NULL,
    look_at TIMESTAMP WITH TIME ZONE,
    wait_until TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (endpoint_id),
    FOREIGN KEY(endpoint_id) REFERENCES webhooks_endpoint (id) ON DELETE CASCADE
);
CREATE INDEX ix_webhooks_endpoint_health_look_at ON webhooks_endpoint_health (look_at);
CREATE TABLE webhooks_bucket (
    id VARCHAR(64) NOT NULL,
    free_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE webhooks_event (
    id VARCHAR(32) NOT NULL,
    type VARCHAR(100) NOT NULL,
    tenant VARCHAR(255),
    data VARCHAR NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    idempotency_key VARCHAR(255),
    idempotency_digest VARCHAR(64),
    PRIMARY KEY (id),
    CONSTRAINT uq_webhooks_event_idempotency UNIQUE (idempotency_digest)
);
CREATE INDEX ix_webhooks_event_tenant ON webhooks_event (tenant, id);
CREATE INDEX ix_webhooks_event_type ON webhooks_event (type, id);
CREATE TABLE webhooks_delivery (
    id VARCHAR(32) NOT NULL,
    event_id VARCHAR(32) NOT NULL,
    endpoint_id VARCHAR(32) NOT NULL,
    tenant VARCHAR(255),
    event_type VARCHAR(100) NOT NULL,
    state VARCHAR(16) NOT NULL,
    reason VARCHAR(64),
    trigger VARCHAR(16) NOT NULL,
    actor VARCHAR(255),
    due_at TIMESTAMP WITH TIME ZONE,
    noticed BOOLEAN,
    lease_token VARCHAR(32),
    lease_until TIMESTAMP WITH TIME ZONE,
    attempt_count INTEGER NOT NULL,
    failure_count INTEGER NOT NULL,
    interruption_count INTEGER NOT NULL,
    last_attempt_at TIMESTAMP WITH TIME ZONE,
    last_status INTEGER,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT uq_webhooks_delivery_event UNIQUE (event_id, endpoint_id),
    FOREIGN KEY(event_id) REFERENCES webhooks_event (id) ON DELETE CASCADE,
    FOREIGN KEY(endpoint_id) REFERENCES webhooks_endpoint (id) ON DELETE CASCADE
);
CREATE INDEX ix_webhooks_delivery_all_endpoint ON webhooks_delivery (endpoint_id, id);
CREATE INDEX ix_webhooks_delivery_all_tenant ON webhooks_delivery (tenant, id);
CREATE INDEX ix_webhooks_delivery_all_type ON webhooks_delivery (event_type, id);
CREATE INDEX ix_webhooks_delivery_due ON webhooks_delivery (endpoint_id, due_at, id) WHERE state = 'pending';
CREATE INDEX ix_webhooks_delivery_failed ON webhooks_delivery (endpoint_id, id) WHERE state = 'failed';
CREATE INDEX ix_webhooks_delivery_failures ON webhooks_delivery (id) WHERE state = 'failed';
CREATE INDEX ix_webhooks_delivery_failures_tenant ON webhooks_delivery (tenant, id) WHERE state = 'failed';
CREATE INDEX ix_webhooks_delivery_fresh ON webhooks_delivery (endpoint_id, id) WHERE state = 'pending' AND noticed IS NULL;
CREATE INDEX ix_webhooks_delivery_held ON webhooks_delivery (endpoint_id) WHERE state = 'held';
CREATE INDEX ix_webhooks_delivery_lease ON webhooks_delivery (endpoint_id, lease_until) WHERE state = 'sending';
CREATE INDEX ix_webhooks_delivery_on_demand ON webhooks_delivery (endpoint_id, due_at, id) WHERE state = 'pending' AND "trigger" IN ('manual', 'test');
CREATE TABLE webhooks_attempt (
    delivery_id VARCHAR(32) NOT NULL,
    number INTEGER NOT NULL,
    endpoint_id VARCHAR(32) NOT NULL,
    trigger VARCHAR(16) NOT NULL,
    actor VARCHAR(255),
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    duration_ms DOUBLE PRECISION,
    outcome VARCHAR(32) NOT NULL,
    status INTEGER,
    error VARCHAR(500),
    url VARCHAR(2048) NOT NULL,
    address VARCHAR(64),
    request_headers VARCHAR,
    request_body VARCHAR,
    response_headers VARCHAR,
    response_body VARCHAR,
    response_cut BOOLEAN NOT NULL,
    timings VARCHAR,
    PRIMARY KEY (delivery_id, number),
    FOREIGN KEY(delivery_id) REFERENCES webhooks_delivery (id) ON DELETE CASCADE
);
CREATE TABLE webhooks_statistic (
    endpoint_id VARCHAR(32) NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    duration_ms DOUBLE PRECISION NOT NULL,
    ms_10 INTEGER NOT NULL,
    ms_25 INTEGER NOT NULL,
    ms_50 INTEGER NOT NULL,
    ms_100 INTEGER NOT NULL,
    ms_250 INTEGER NOT NULL,
    ms_500 INTEGER NOT NULL,
    ms_1000 INTEGER NOT NULL,
    ms_2500 INTEGER NOT NULL,
    ms_5000 INTEGER NOT NULL,
    ms_10000 INTEGER NOT NULL,
    ms_more INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, hour),
    FOREIGN KEY(endpoint_id) REFERENCES webhooks_endpoint (id) ON DELETE CASCADE
);
CREATE INDEX ix_webhooks_statistic_hour ON webhooks_statistic (hour);
CREATE TABLE webhooks_heartbeat (
    name VARCHAR(100) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE webhooks_activity (
    id VARCHAR(32) NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    actor VARCHAR(255) NOT NULL,
    action VARCHAR(64) NOT NULL,
    tenant VARCHAR(255),
    endpoint_id VARCHAR(32),
    delivery_id VARCHAR(32),
    changes VARCHAR,
    PRIMARY KEY (id)
);
CREATE INDEX ix_webhooks_activity_endpoint ON webhooks_activity (endpoint_id, id);
CREATE INDEX ix_webhooks_activity_tenant ON webhooks_activity (tenant, id);
CREATE TABLE webhooks_task (
    id VARCHAR(32) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    endpoint_id VARCHAR(32),
    tenant VARCHAR(255),
    filter VARCHAR NOT NULL,
    actor VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL,
    total INTEGER,
    done INTEGER NOT NULL,
    cursor VARCHAR(32) NOT NULL,
    bound VARCHAR(32) NOT NULL,
    lease_token VARCHAR(32),
    lease_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    touched_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    error VARCHAR(500),
    PRIMARY KEY (id)
);
CREATE INDEX ix_webhooks_task_endpoint ON webhooks_task (endpoint_id, id);
CREATE INDEX ix_webhooks_task_kind ON webhooks_task (kind, id);
CREATE INDEX ix_webhooks_task_state ON webhooks_task (state, touched_at);
CREATE INDEX ix_webhooks_task_tenant ON webhooks_task (tenant, id);
