#!/usr/bin/php
<?php
// The recipes of docs/clients.md for PDO.
//
// recipes.php check       goes through all of them
// recipes.php bench WAY   walks the table for stacks.py

error_reporting(E_ALL);
set_error_handler(function ($level, $message) { throw new ErrorException($message); });

// [walk]
function walk(PDO $pdo, string $after = '{}'): Generator
{
    $page = $pdo->prepare('SELECT * FROM chunked.page(NULL::event, 1000, after => ?)');
    while ($page->execute([$after]) && $rows = $page->fetchAll(PDO::FETCH_ASSOC)) {
        yield $rows;
        $after = json_encode(['id' => end($rows)['id']]);
    }
}
// [end]

function walk_all(PDO $pdo, callable $handle): void
{
    // [loop]
    foreach (walk($pdo) as $rows) {
        foreach ($rows as $row) {
            $handle($row);
        }
    }
    // [end]
}

function resume(PDO $pdo, string $file, callable $handle): void
{
    // [resume]
    foreach (walk($pdo, file_exists($file) ? file_get_contents($file) : '{}') as $rows) {
        $handle($rows);
        file_put_contents($file, json_encode(['id' => end($rows)['id']]));
    }
    // [end]
}

// [backwards]
function walk_backwards(PDO $pdo, string $before = '{}'): Generator
{
    $page = $pdo->prepare('SELECT * FROM chunked.page(NULL::event, 1000, before => ?)');
    while ($page->execute([$before]) && $rows = $page->fetchAll(PDO::FETCH_ASSOC)) {
        yield array_reverse($rows);
        $before = json_encode(['id' => $rows[0]['id']]);
    }
}
// [end]

// [order]
function newest_first(PDO $pdo, int $kind, string $name, string $after = '{}'): Generator
{
    $page = $pdo->prepare("SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC') AS chunked_position
        FROM chunked.page(NULL::event, 1000, after => ?, key => 'created_at DESC, id DESC',
                          filter => 'kind = $1 AND name > $2', args => ?) p");
    while ($page->execute([$after, json_encode([$kind, $name])]) && $rows = $page->fetchAll(PDO::FETCH_ASSOC)) {
        yield $rows;
        $after = end($rows)['chunked_position'];
    }
}
// [end]

// [relations]
function with_orders(PDO $pdo, string $after = '{}'): Generator
{
    $next = $pdo->prepare("SELECT upto, predicate FROM chunked.next_chunk('event', 1000, after => ?, alias => 'e')");
    while ($next->execute([$after]) && $chunk = $next->fetch(PDO::FETCH_ASSOC)) {
        yield $pdo->query("SELECT e.id, o.position FROM event e LEFT JOIN \"order\" o ON o.event_id = e.id
            WHERE {$chunk['predicate']} ORDER BY e.id")->fetchAll(PDO::FETCH_ASSOC);
        $after = $chunk['upto'];
    }
}
// [end]

function numbered(PDO $pdo): array
{
    // [pages]
    $pages = $pdo->query("SELECT page_count FROM chunked.paginator('event', 100)")->fetchColumn();
    $last = $pdo->prepare('SELECT * FROM chunked.paginate(NULL::event, ?, 100)');
    $last->execute([$pages]);
    // [end]
    return [$pages, $last->fetchAll(PDO::FETCH_ASSOC)];
}

// [split]
function export(PDO $pdo): void
{
    $pdo->exec('BEGIN ISOLATION LEVEL REPEATABLE READ');
    $snapshot = $pdo->query('SELECT pg_export_snapshot()')->fetchColumn();
    $parts = [];
    foreach ($pdo->query("SELECT predicate FROM chunked.split('event', 4)")->fetchAll(PDO::FETCH_COLUMN) as $predicate) {
        $parts[] = proc_open(['php', 'export_part.php', $snapshot, $predicate], [], $pipes);
    }
    if (array_filter(array_map('proc_close', $parts))) {
        throw new RuntimeException('a part failed');
    }
    $pdo->exec('COMMIT');
}

function export_part(PDO $pdo, string $snapshot, string $predicate, callable $handle): void     // what export_part.php does
{
    $pdo->exec('BEGIN ISOLATION LEVEL REPEATABLE READ');
    $pdo->exec('SET TRANSACTION SNAPSHOT ' . $pdo->quote($snapshot));
    $handle($pdo->query("SELECT * FROM event WHERE $predicate"));
    $pdo->exec('COMMIT');
}
// [end]

// [backfill]
function backfill(PDO $pdo): void
{
    $job = $pdo->query("SELECT chunked.create_job('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')")->fetchColumn();
    $pdo->prepare('SELECT chunked.start_job(?)')->execute([$job]);
    $progress = $pdo->prepare('SELECT status, line FROM chunked.progress WHERE job = ?');
    do {
        sleep(1);
        $progress->execute([$job]);
        [$status, $line] = $progress->fetch(PDO::FETCH_NUM);
        echo $line, "\n";
    } while ($status === 'running');
}
// [end]

// [worker]
function work(PDO $pdo, string $job, callable $handle): string
{
    $claim = $pdo->prepare('SELECT number, fence, predicate, state FROM chunked.claim_chunk(?)');
    $complete = $pdo->prepare('SELECT chunked.complete_chunk(?, ?, ?)');
    while (true) {
        $claim->execute([$job]);
        $chunk = $claim->fetch(PDO::FETCH_ASSOC);
        if ($chunk['state'] === 'wait') {
            sleep(1);
        } elseif ($chunk['state'] !== 'claimed') {
            return $chunk['state'];
        } else {
            $handle($pdo->query("SELECT * FROM event WHERE {$chunk['predicate']} ORDER BY id")->fetchAll(PDO::FETCH_ASSOC));
            $complete->execute([$job, $chunk['number'], $chunk['fence']]);
        }
    }
}
// [end]

// Their checks

function expect(string $what, mixed $got, mixed $expected): void
{
    if ($got !== $expected) {
        echo "$what: ", substr(json_encode($got), 0, 200), ', not ', substr(json_encode($expected), 0, 200), "\n";
        exit(1);
    }
}

function ids(iterable $pages): array
{
    $ids = [];
    foreach ($pages as $rows) {
        array_push($ids, ...array_column($rows, 'id'));
    }
    return $ids;
}

function check_split(PDO $pdo, array $everything): void
{
    $directory = exec('mktemp -d');
    chdir($directory);
    file_put_contents('export_part.php', '<?php require ' . var_export(__FILE__, true) . ';');
    export($pdo);
    $parts = glob('part.*');
    $rows = array_merge(...array_map(fn ($part) => json_decode(file_get_contents($part)), $parts));
    exec('rm -r ' . escapeshellarg($directory));
    sort($rows);
    expect('split', $rows, $everything);
    expect('its parts', count($parts), 4);
}

// What export_part.php does. All rows are changed before, which nobody may see.
function write_part(PDO $pdo, string $snapshot, string $predicate): void
{
    $pdo->exec('UPDATE event SET kind = kind + 10');
    export_part($pdo, $snapshot, $predicate, function ($rows) {
        $rows = $rows->fetchAll(PDO::FETCH_ASSOC);
        expect('snapshot', max(array_column($rows, 'kind')), 9);
        file_put_contents('part.' . getmypid(), json_encode(array_column($rows, 'id')));
    });
}

function check(PDO $pdo, string $dsn): void
{
    $everything = range(1, $pdo->query('SELECT count(*) FROM event')->fetchColumn());
    $count = count($everything);
    $seen = [];
    $collect = function ($rows) use (&$seen) { array_push($seen, ...array_column($rows, 'id')); };

    walk_all($pdo, function ($row) use (&$seen) { $seen[] = $row['id']; });
    expect('walk', $seen, $everything);
    $file = tempnam(sys_get_temp_dir(), 'position');
    unlink($file);
    $seen = [];
    try {
        resume($pdo, $file, function ($rows) use (&$seen, $collect, $count) {
            count($seen) < $count / 2 ? $collect($rows) : throw new RangeException('stopped');
        });
    } catch (RangeException) {
    }
    resume(new PDO($dsn), $file, $collect);
    unlink($file);
    expect('resume', $seen, $everything);
    expect('backwards', ids(walk_backwards($pdo)), array_reverse($everything));
    expect('order and filter', ids(newest_first($pdo, 7, "' OR true --")),
        array_values(array_filter(array_reverse($everything), fn ($id) => $id % 10 === 7)));
    expect('relations', ids(with_orders($pdo)), $everything);
    [$pages, $last] = numbered($pdo);
    expect('pages', [(int) $pages, ids([$last])], [intdiv($count, 100), array_slice($everything, -100)]);
    check_split($pdo, $everything);
    ob_start();
    backfill($pdo);
    expect('progress', str_contains(ob_get_clean(), '100%'), true);
    expect('backfill', $pdo->query("SELECT count(*) FROM event WHERE name LIKE 'EVENT %'")->fetchColumn(), $count);
    $seen = [];
    expect('worker', work($pdo, $pdo->query("SELECT chunked.create_job('event')")->fetchColumn(), $collect), 'done');
    expect('its rows', $seen, $everything);
}

// What stacks.py measures

function stream(PDO $pdo): Generator
{
    $pdo->exec('BEGIN; DECLARE walk CURSOR FOR SELECT * FROM event ORDER BY id');
    $fetch = $pdo->prepare('FETCH 1000 FROM walk');
    while ($fetch->execute() && $rows = $fetch->fetchAll(PDO::FETCH_ASSOC)) {
        yield $rows;
    }
    $pdo->exec('COMMIT');
}

function bench(PDO $pdo, string $way): void
{
    echo 'ready PDO ', PHP_VERSION, "\n";
    fgets(STDIN);
    $pages = match ($way) {
        'ours' => walk($pdo),
        'stream' => stream($pdo),
        'all' => (fn () => yield $pdo->query('SELECT * FROM event ORDER BY id')->fetchAll(PDO::FETCH_ASSOC))(),
    };
    $done = 0;
    foreach ($pages as $rows) {
        foreach ($rows as $row) {
            if ($done++ === 0) {
                echo "first\n";
            }
        }
    }
    echo "done $done\n";
    fgets(STDIN);
}

$dsn = 'pgsql:dbname=' . getenv('PGDATABASE');
$pdo = new PDO($dsn);
match ($argv[1]) {
    'check' => check($pdo, $dsn),
    'bench' => bench($pdo, $argv[2]),
    default => write_part($pdo, $argv[1], $argv[2]),
};
