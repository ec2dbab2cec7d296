#!/usr/bin/env node
// Walks that are interrupted, for servers.py.
//
// walk.js walk HOST...      the recipe, which goes on after whatever happens to its connection
// walk.js stream HOST...    a QueryStream, which ends with its connection
//
// Half way it says so, and goes on when it reads a line. In the end it says which ids it saw, and what interrupted it.

const readline = require('node:readline');
const { setTimeout: pause } = require('node:timers/promises');
const { pg, walk } = require('./recipes.js');

const [way, ...hosts] = process.argv.slice(2);
const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ids = [];
const errors = [];
let size = Infinity;

async function connect(host) {
    const client = new pg.Client({ host });
    client.on('error', () => {});       // between two queries: the next one fails as well
    await client.connect();
    return client;
}

// The first server that takes writes: what libpq does by target_session_attrs=read-write. Of one server, whatever it is.
async function connectToPrimary() {
    for (;; await pause(50))
        for (const host of hosts) {
            const client = await connect(host).catch(() => null);
            if (client === null) continue;
            if (hosts.length === 1) return client;
            const { rows: [{ transaction_read_only: readOnly }] } = await client.query('SHOW transaction_read_only');
            if (readOnly === 'off') return client;
            await client.end();
        }
}

async function handle(row) {
    ids.push(Number(row.id));
    if (ids.length === size / 2) {
        console.log('half');
        await input.next();
    }
}

async function walkOn() {
    let after = {};
    while (errors.length < 100) {
        const client = await connectToPrimary();
        try {
            for await (const rows of walk(client, after))
                for (const row of rows) {
                    await handle(row);
                    after = { id: row.id };
                }
            return await client.end();
        } catch (error) {
            errors.push(error.code ?? error.message);
            client.end().catch(() => {});
        }
    }
}

async function stream() {
    const QueryStream = require('pg-query-stream');
    const client = await connect(hosts[0]);
    try {
        await client.query('BEGIN');
        for await (const row of client.query(new QueryStream('SELECT id FROM event ORDER BY id', [], { batchSize: 1000 })))
            await handle(row);
        await client.query('COMMIT');
    } catch (error) {
        errors.push(error.code ?? error.message);
    }
}

(async () => {
    const client = await connectToPrimary();
    size = (await client.query('SELECT count(*)::int FROM event')).rows[0].count;
    await client.end();
    await (way === 'walk' ? walkOn() : stream());
    console.log(JSON.stringify({ ids, errors }));
    process.exit();
})();
