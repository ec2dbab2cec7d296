#!/usr/bin/php
<?php
// The recipes of docs/clients.md for Laravel.
//
// recipes.php check       goes through all of them
// recipes.php bench WAY   walks the table for stacks.py

require '/usr/share/php/Illuminate/Database/autoload.php';

use Illuminate\Database\Capsule\Manager as DB;
use Illuminate\Database\Eloquent\Builder;
use Illuminate\Database\Eloquent\Model;

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
        chunks(Event::with('orders')->orderBy('id')),
        chunks(Order::join('event', 'event.id', 'order.event_id')->where('kind', 8)->select('order.*')->orderBy('order.id')),
        // [end]
    ];
}

// [pages]
function last_page(): iterable
{
    return Event::fromRaw('chunked.page(NULL::event, 1000, before => ?) AS event', ['{}'])->get();
}

function numbered(int $number): iterable
{
    return Event::fromRaw('chunked.paginate(NULL::event, ?, 100) AS event', [$number])->get();
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

function check(): void
{
    $everything = range(1, Event::count());
    $count = count($everything);
    $seen = [];

    walk_all(function ($event) use (&$seen) { $seen[] = $event->id; });
    expect('walk', $seen, $everything);
    expect('resume', ids(walk('{"id": 1234}')), array_slice($everything, 1234));
    [$some, $newest, $with, $orders] = other_walks("event 5' OR true --");
    expect('filter', ids($some), array_values(array_filter($everything, fn ($id) => $id % 10 === 7 && "event $id" > "event 5' OR true --")));
    expect('order', ids($newest), array_reverse($everything));
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
    expect('pages', ids([numbered($count / 100)]), array_slice($everything, -100));
    $seen = [];
    expect('worker', work(DB::selectOne("SELECT chunked.create_job('event') AS job")->job, function ($rows) use (&$seen) {
        array_push($seen, ...$rows->pluck('id'));
    }), 'done');
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
$argv[1] === 'check' ? check() : bench($argv[2]);
