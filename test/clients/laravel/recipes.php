#!/usr/bin/php
<?php
// The recipes of docs/clients.md for Laravel.
//
// recipes.php check       goes through all of them
// recipes.php bench WAY   walks the table for stacks.py

require_once '/usr/share/php/Illuminate/Database/autoload.php';
require_once '/usr/share/php/Illuminate/Pagination/autoload.php';
require_once '/usr/share/php/Symfony/Component/Process/autoload.php';

use Illuminate\Database\Capsule\Manager as DB;
use Illuminate\Database\Eloquent\Builder;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Pagination\LengthAwarePaginator;
use Symfony\Component\Process\Process;

class Event extends Model
{
    protected $table = 'event';
    public $timestamps = false;

    public function orders()
    {
        return $this->hasMany(Order::class);
    }
}

class Order extends Model
{
    protected $table = 'order';

    public function event()
    {
        return $this->belongsTo(Event::class);
    }
}

// [walk]
function walk(string $after = '{}'): Generator
{
    while (count($events = Event::fromRaw('chunked.page(NULL::event, 2000, after => ?) AS event', [$after])->get())) {
        yield $events;
        $after = json_encode(['id' => $events->last()->id]);
    }
}
// [end]

function walk_all(callable $handle): void
{
    // [loop]
    foreach (walk() as $events) {
        foreach ($events as $event) {
            $handle($event);
        }
    }
    // [end]
}

// [chunks]
function chunks(Builder $query, ?string $key = null, string $after = '{}', int $size = 1000): Generator
{
    $table = $query->getGrammar()->wrapTable($query->getModel()->getTable());
    while ($chunk = DB::selectOne('SELECT upto, predicate FROM chunked.next_chunk(?, ?, after => ?, key => ?, alias => ?)',
            [$table, $size, $after, $key, $table])) {
        yield $after = $chunk->upto => (clone $query)->whereRaw($chunk->predicate);
    }
}
// [end]

function other_walks(string $name): array
{
    return [
        // [own]
        chunks(Event::where('kind', 7)->where('name', '>', $name)->orderBy('id')),
        chunks(Event::orderByDesc('created_at')->orderByDesc('id'), 'created_at DESC, id DESC'),
        chunks(Event::orderByDesc('id'), 'id DESC'),
        chunks(Event::with('orders')->orderBy('id')),
        chunks(Order::join('event', 'event.id', 'order.event_id')->where('kind', 8)->select('order.*')->orderBy('order.id')),
        // [end]
    ];
}

// [resume]
function resume(string $name, callable $handle): void
{
    $after = DB::table('walk')->where('name', $name)->value('position') ?? '{}';
    foreach (chunks(Event::orderBy('id'), null, $after) as $position => $events) {
        $handle($events->get());
        DB::table('walk')->updateOrInsert(['name' => $name], ['position' => $position]);
    }
}
// [end]

// [backwards]
function last_page(string $before = '{}'): iterable     // or the first row of the page that is shown: {"id": 1501}
{
    return Event::fromRaw('chunked.page(NULL::event, 1000, before => ?) AS event', [$before])->get();
}
// [end]

// [pages]
function numbered(int $number): LengthAwarePaginator
{
    $events = Event::fromRaw('chunked.paginate(NULL::event, ?, 100) AS event', [$number])->get();
    return new LengthAwarePaginator($events, DB::selectOne("SELECT chunked.row_count('event') AS total")->total, 100, $number);
}
// [end]

// [split]
function export(): void
{
    DB::transaction(function () {
        DB::unprepared('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
        $snapshot = DB::selectOne('SELECT pg_export_snapshot() AS name')->name;
        $parts = [];
        foreach (DB::select("SELECT predicate FROM chunked.split('event', 4, alias => 'event')") as $chunk) {
            $parts[] = $part = new Process(['php', 'artisan', 'event:export', $snapshot, $chunk->predicate]);
            $part->setTimeout(null)->start();
        }
        foreach ($parts as $part) {
            $part->wait() === 0 ?: throw new RuntimeException($part->getErrorOutput());
        }
    });
}

function export_part(string $snapshot, string $predicate, callable $handle): void       // what the command does
{
    DB::transaction(function () use ($snapshot, $predicate, $handle) {
        DB::unprepared('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
        DB::unprepared('SET TRANSACTION SNAPSHOT ' . DB::connection()->getPdo()->quote($snapshot));
        $handle(Event::whereRaw($predicate));
    });
}
// [end]

// [backfill]
function backfill(): string
{
    $job = DB::selectOne("SELECT chunked.create_job('event', 'UPDATE event SET name = upper(name) WHERE {chunk}') AS job")->job;
    DB::select('SELECT chunked.start_job(?)', [$job]);
    do {
        sleep(1);
        $progress = DB::selectOne('SELECT status, line FROM chunked.progress WHERE job = ?', [$job]);
        echo $progress->line, "\n";
    } while ($progress->status === 'running');
    return $progress->status;
}
// [end]

// [worker]
function work(string $job, callable $handle): string
{
    while (true) {
        $chunk = DB::selectOne('SELECT number, fence, predicate, state FROM chunked.claim_chunk(?)', [$job]);
        if ($chunk->state === 'wait') {
            sleep(1);
        } elseif ($chunk->state !== 'claimed') {
            return $chunk->state;
        } else {
            $handle(Event::whereRaw($chunk->predicate)->orderBy('id')->get());
            DB::select('SELECT chunked.complete_chunk(?, ?, ?)', [$job, $chunk->number, $chunk->fence]);
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
        array_push($ids, ...($rows instanceof Builder ? $rows->get() : $rows)->pluck('id'));
    }
    return $ids;
}

// Parts are exported by an artisan that knows this one command.
function check_split(array $everything): void
{
    $directory = exec('mktemp -d');
    chdir($directory);
    file_put_contents('artisan', '<?php require ' . var_export(__FILE__, true) . ';');
    export();
    $parts = glob('part.*');
    $rows = array_merge(...array_map(fn ($part) => json_decode(file_get_contents($part)), $parts));
    exec('rm -r ' . escapeshellarg($directory));
    sort($rows);
    expect('split', $rows, $everything);
    expect('its parts', count($parts), 4);
}

// All rows are changed before, which nobody may see.
function write_part(string $snapshot, string $predicate): void
{
    exec('psql -X -c "UPDATE event SET kind = kind + 10"');
    export_part($snapshot, $predicate, function (Builder $events) {
        expect('snapshot', $events->max('kind'), 9);
        file_put_contents('part.' . getmypid(), $events->pluck('id')->toJson());
    });
}

function check(): void
{
    $everything = range(1, Event::count());
    $count = count($everything);
    $seen = [];

    walk_all(function ($event) use (&$seen) { $seen[] = $event->id; });
    expect('walk', $seen, $everything);
    DB::statement('CREATE TABLE walk (name text PRIMARY KEY, position text NOT NULL)');
    $seen = [];
    $collect = function ($rows) use (&$seen) { array_push($seen, ...$rows->pluck('id')); };
    try {
        resume("a user's", function ($rows) use (&$seen, $collect, $count) {
            count($seen) < $count / 2 ? $collect($rows) : throw new RangeException('stopped');
        });
    } catch (RangeException) {
    }
    DB::connection()->disconnect();
    resume("a user's", $collect);
    expect('resume', $seen, $everything);
    expect('from a position', ids(walk('{"id": 1234}')), array_slice($everything, 1234));
    [$some, $newest, $backwards, $with, $orders] = other_walks("event 5' OR true --");
    expect('filter', ids($some), array_values(array_filter($everything, fn ($id) => $id % 10 === 7 && "event $id" > "event 5' OR true --")));
    expect('order', ids($newest), array_reverse($everything));
    expect('backwards', ids($backwards), array_reverse($everything));
    DB::connection()->enableQueryLog();
    $found = 0;
    foreach ($with as $events) {
        foreach ($events->get() as $event) {
            $found += count($event->orders);
        }
    }
    expect('relations', $found, intdiv($count, 10));
    expect('queries for them', count(DB::getQueryLog()) <= 3 * intdiv($count, 1000) + 1, true);
    expect('joins', ids($orders), array_values(array_filter(range(1, $count / 10), fn ($id) => $id * 2 % 10 === 8)));
    expect('last page', ids([last_page()]), array_slice($everything, -1000));
    expect('the page before', ids([last_page('{"id": 1501}')]), range(501, 1500));
    $last = numbered($count / 100);
    expect('pages', ids([$last->getCollection()]), array_slice($everything, -100));
    expect('their number', [$last->lastPage(), $last->total(), $last->hasMorePages()], [intdiv($count, 100), $count, false]);
    check_split($everything);
    ob_start();
    expect('backfill', backfill(), 'done');
    expect('progress', str_contains(ob_get_clean(), '100%'), true);
    expect('its rows', Event::where('name', 'like', 'EVENT %')->count(), $count);
    $seen = [];
    expect('worker', work(DB::selectOne("SELECT chunked.create_job('event') AS job")->job, $collect), 'done');
    expect('its rows', $seen, $everything);
}

// What stacks.py measures

function bench(string $way): void
{
    DB::select('SELECT 1');
    echo "ready Laravel 8\n";
    fgets(STDIN);
    $done = 0;
    $handle = function ($event) use (&$done) {
        if ($done++ === 0) {
            echo "first\n";
        }
    };
    switch ($way) {
        case 'ours':
            walk_all($handle);
            break;
        case 'stream':
            Event::lazyById(1000)->each($handle);
            break;
        default:
            Event::orderBy('id')->get()->each($handle);
    }
    echo "done $done\n";
    fgets(STDIN);
}

$manager = new DB();
$manager->addConnection(['driver' => 'pgsql', 'host' => getenv('PGHOST'), 'port' => getenv('PGPORT'),
    'database' => getenv('PGDATABASE'), 'username' => getenv('PGUSER')]);
$manager->setAsGlobal();
$manager->bootEloquent();
match ($argv[1]) {
    'check' => check(),
    'bench' => bench($argv[2]),
    'event:export' => write_part($argv[2], $argv[3]),
};
