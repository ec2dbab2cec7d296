#!/usr/bin/env node
// The recipes of docs/clients.md for node-pg.
//
// recipes.js check       goes through all of them
// recipes.js bench WAY   walks the table for stacks.py

const assert = require('node:assert');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { promisify } = require('node:util');
let pg;
try {
    pg = require('pg');
} catch {
    console.log('pg is not installed');
    process.exit(77);
}

// [walk]
async function* walk(client, after = {}) {
    const query = promisify(client.query).bind(client);
    for (;;) {
        const { rows } = await query({
            name: 'walk', text: 'SELECT * FROM chunked.page(NULL::event, 1000, after => $1)', values: [after] });
        if (rows.length === 0) return;
        yield rows;
        after = { id: rows.at(-1).id };
    }
}
// [end]

async function walkAll(client, handle) {
    // [loop]
    for await (const rows of walk(client))
        for (const row of rows) handle(row);
    // [end]
}

async function resume(client, file, handle) {
    // [resume]
    const after = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : {};
    for await (const rows of walk(client, after)) {
        handle(rows);
        fs.writeFileSync(file, JSON.stringify({ id: rows.at(-1).id }));
    }
    // [end]
}

// [backwards]
async function* walkBackwards(client, before = {}) {
    for (;;) {
        const { rows } = await client.query('SELECT * FROM chunked.page(NULL::event, 1000, before => $1)', [before]);
        if (rows.length === 0) return;
        yield rows.reverse();
        before = { id: rows.at(-1).id };
    }
}
// [end]

// [filter]
async function* walkNamed(client, kind, name, after = {}) {
    for (;;) {
        const { rows } = await client.query(
            "SELECT * FROM chunked.page(NULL::event, 1000, after => $1, filter => 'kind = $1 AND name > $2', args => $2)",
            [after, JSON.stringify([kind, name])]);
        if (rows.length === 0) return;
        yield rows;
        after = { id: rows.at(-1).id };
    }
}
// [end]

// [order]
async function* newestFirst(client, after = '{}') {
    for (;;) {
        const { rows } = await client.query(
            `SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC')::text AS chunked_position
             FROM chunked.page(NULL::event, 1000, after => $1, key => 'created_at DESC, id DESC') p`, [after]);
        if (rows.length === 0) return;
        yield rows;
        after = rows.at(-1).chunked_position;
    }
}
// [end]

// [relations]
async function* withOrders(client, after = '{}') {
    for (;;) {
        const { rows: [chunk] } = await client.query(
            `SELECT upto::text, predicate FROM chunked.next_chunk('event', 1000, after => $1, alias => 'e')`, [after]);
        if (chunk === undefined) return;
        yield (await client.query(
            `SELECT e.id, o.position FROM event e LEFT JOIN "order" o ON o.event_id = e.id
             WHERE ${chunk.predicate} ORDER BY e.id`)).rows;
        after = chunk.upto;
    }
}
// [end]

async function numbered(client) {
    // [pages]
    const { rows: [{ page_count }] } = await client.query("SELECT page_count FROM chunked.paginator('event', 100)");
    const { rows: last } = await client.query('SELECT * FROM chunked.paginate(NULL::event, $1, 100)', [page_count]);
    // [end]
    return [page_count, last];
}

// [split]
async function exportAll(pool, handle) {
    const first = await pool.connect();
    await first.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const { rows: [{ snapshot }] } = await first.query('SELECT pg_export_snapshot() AS snapshot');
    const { rows: chunks } = await first.query("SELECT predicate FROM chunked.split('event', 8)");
    await Promise.all(chunks.map(async ({ predicate }) => {
        const client = await pool.connect();
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        await client.query(`SET TRANSACTION SNAPSHOT '${snapshot}'`);
        handle((await client.query(`SELECT * FROM event WHERE ${predicate}`)).rows);
        await client.query('COMMIT');
        client.release();
    }));
    await first.query('COMMIT');
    first.release();
}
// [end]

// [backfill]
async function backfill(client) {
    client.on('notice', (notice) => console.log(notice.message));
    await client.query("CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')");
}
// [end]

// [worker]
async function work(client, job, handle) {
    for (;;) {
        const { rows: [{ number, fence, predicate, state }] } = await client.query(
            'SELECT number, fence, predicate, state FROM chunked.claim_chunk($1)', [job]);
        if (state === 'wait') {
            await new Promise((resolve) => setTimeout(resolve, 1000));
        } else if (state !== 'claimed') {
            return state;
        } else {
            const { rows } = await client.query(`SELECT * FROM event WHERE ${predicate} ORDER BY id`);
            await handle(rows);
            await client.query('SELECT chunked.complete_chunk($1, $2, $3, $4)', [job, number, fence, rows.length]);
        }
    }
}
// [end]

// Their checks

async function ids(pages) {
    const result = [];
    for await (const rows of pages) result.push(...rows.map((row) => Number(row.id)));
    return result;
}

async function check(client) {
    const { rows: [{ count }] } = await client.query('SELECT count(*)::int FROM event');
    const everything = Array.from({ length: count }, (_, i) => i + 1);
    const backwards = [...everything].reverse();
    let seen = [];

    await walkAll(client, (row) => seen.push(Number(row.id)));
    assert.deepStrictEqual(seen, everything);

    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'recipes'));
    const file = path.join(directory, 'position');
    seen = [];
    await assert.rejects(resume(client, file, (rows) => {
        if (seen.length >= count / 2) throw new Error('stopped');
        seen.push(...rows.map((row) => Number(row.id)));
    }), /stopped/);
    const another = new pg.Client();
    await another.connect();
    await resume(another, file, (rows) => seen.push(...rows.map((row) => Number(row.id))));
    await another.end();
    fs.rmSync(directory, { recursive: true });
    assert.deepStrictEqual(seen, everything);

    assert.deepStrictEqual(await ids(walkBackwards(client)), backwards);
    assert.deepStrictEqual(await ids(walkNamed(client, 7, "event 5' OR true --")),
        everything.filter((id) => id % 10 === 7 && `event ${id}` > "event 5' OR true --"));
    assert.deepStrictEqual(await ids(newestFirst(client)), backwards);
    assert.deepStrictEqual(await ids(withOrders(client)), everything);
    const [pages, last] = await numbered(client);
    assert.deepStrictEqual([Number(pages), last.map((row) => Number(row.id))], [count / 100, everything.slice(-100)]);

    seen = [];
    const pool = new pg.Pool({ max: 4 });
    await exportAll(pool, (rows) => {
        // the first changes all rows, which nobody may see
        if (seen.length === 0) execFileSync('psql', ['-Xqc', 'UPDATE event SET kind = kind + 10']);
        assert(rows.every((row) => row.kind < 10));
        seen.push(...rows.map((row) => Number(row.id)));
    });
    await pool.end();
    assert.deepStrictEqual(seen.sort((a, b) => a - b), everything);

    const printed = [];
    const { log } = console;
    console.log = (line) => printed.push(line);
    await backfill(client);
    console.log = log;
    assert.match(printed.join('\n'), new RegExp(`\\d%.* ${count} rows in `, 's'));
    assert.deepStrictEqual((await client.query("SELECT count(*)::int FROM event WHERE name LIKE 'EVENT %'")).rows, [{ count }]);
    const { rows: [{ job }] } = await client.query("SELECT chunked.create_job('event') AS job");
    seen = [];
    assert.strictEqual(await work(client, job, (rows) => seen.push(...rows.map((row) => Number(row.id)))), 'done');
    assert.deepStrictEqual(seen, everything);
}

// What stacks.py measures

async function bench(client, way) {
    const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    await client.query('SELECT 1');
    console.log('ready node-pg', require('pg/package.json').version);
    await input.next();
    let done = 0;
    const handle = () => {
        if (done++ === 0) console.log('first');
    };
    if (way === 'ours') await walkAll(client, handle);
    else if (way === 'stream') {
        const QueryStream = require('pg-query-stream');
        for await (const row of client.query(new QueryStream('SELECT * FROM event ORDER BY id', [], { batchSize: 1000 }))) handle(row);
    } else (await client.query('SELECT * FROM event ORDER BY id')).rows.forEach(handle);
    console.log('done', done);
    await input.next();
}

async function main() {
    const client = new pg.Client();
    await client.connect();
    if (process.argv[2] === 'check') await check(client);
    else await bench(client, process.argv[3]);
    await client.end();
    process.exit();
}

module.exports = { pg, walk, walkBackwards, work };
if (require.main === module) main();
