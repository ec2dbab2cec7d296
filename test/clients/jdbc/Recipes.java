// The recipes of docs/clients.md for JDBC.
//
// Recipes check       goes through all of them
// Recipes bench WAY   walks the table for stacks.py

import java.io.*;
import java.nio.file.*;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public class Recipes {
    interface Handler {
        void row(ResultSet row) throws Exception;
    }

    // [walk]
    static void walk(Connection connection, String after, Handler handler) throws Exception {
        try (PreparedStatement page = connection.prepareStatement(
                "SELECT * FROM chunked.page(NULL::event, 2000, after => CAST(? AS jsonb))")) {
            while (after != null) {                             // {}, or where to go on
                page.setString(1, after);
                after = null;
                try (ResultSet row = page.executeQuery()) {
                    Long last = null;
                    while (row.next()) {
                        handler.row(row);
                        last = row.getLong("id");
                    }
                    if (last != null) after = "{\"id\": " + last + "}";
                }
            }
        }
    }
    // [end]

    // [resume]
    static void resume(Connection connection, Path file, Handler handler) throws Exception {
        long[] rows = {0};
        walk(connection, Files.exists(file) ? Files.readString(file) : "{}", row -> {
            handler.row(row);
            if (++rows[0] % 1000 == 0)                          // after a crash, the rows since then come again
                Files.writeString(file, "{\"id\": " + row.getLong("id") + "}");
        });
    }
    // [end]

    // [backwards]
    static List<Long> lastPage(Connection connection, String before) throws SQLException {
        try (PreparedStatement page = connection.prepareStatement(
                "SELECT id FROM chunked.page(NULL::event, 1000, before => CAST(? AS jsonb))")) {
            page.setString(1, before);                          // {}, or the first row of the page that is shown
            List<Long> ids = new ArrayList<>();
            for (ResultSet row = page.executeQuery(); row.next();) ids.add(row.getLong(1));
            return ids;
        }
    }
    // [end]

    // [order]
    static void newestFirst(Connection connection, int kind, String name, Handler handler) throws Exception {
        String after = "{}";
        try (PreparedStatement page = connection.prepareStatement(
                "SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC') AS chunked_position"
                + " FROM chunked.page(NULL::event, 1000, after => CAST(? AS jsonb), key => 'created_at DESC, id DESC',"
                + " filter => 'kind = $1 AND name > $2', args => jsonb_build_array(CAST(? AS int), CAST(? AS text))) p")) {
            while (after != null) {
                page.setString(1, after);
                page.setInt(2, kind);
                page.setString(3, name);
                after = null;
                try (ResultSet row = page.executeQuery()) {
                    while (row.next()) {
                        handler.row(row);
                        after = row.getString("chunked_position");
                    }
                }
            }
        }
    }
    // [end]

    // [relations]
    static void withOrders(Connection connection, Handler handler) throws Exception {
        String after = "{}";
        try (PreparedStatement next = connection.prepareStatement(
                "SELECT upto, predicate FROM chunked.next_chunk('event', 1000, after => CAST(? AS jsonb), alias => 'e')");
             Statement statement = connection.createStatement()) {
            while (true) {
                next.setString(1, after);
                ResultSet chunk = next.executeQuery();
                if (!chunk.next()) return;
                after = chunk.getString("upto");
                ResultSet row = statement.executeQuery(
                    "SELECT e.id, o.position FROM event e LEFT JOIN \"order\" o ON o.event_id = e.id WHERE "
                    + chunk.getString("predicate") + " ORDER BY e.id");
                while (row.next()) handler.row(row);
            }
        }
    }
    // [end]

    static Object one(Connection connection, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) statement.setObject(i + 1, parameters[i]);
            ResultSet row = statement.executeQuery();
            row.next();
            return row.getObject(1);
        }
    }

    static void numbered(Connection connection, Handler handler) throws Exception {
        // [pages]
        long pages = (Long) one(connection, "SELECT page_count FROM chunked.paginator('event', 100)");
        try (PreparedStatement last = connection.prepareStatement("SELECT * FROM chunked.paginate(NULL::event, ?, 100)")) {
            last.setLong(1, pages);
            for (ResultSet row = last.executeQuery(); row.next();) handler.row(row);
        }
        // [end]
    }

    // [split]
    static void export(Handler handler) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            String snapshot = (String) one(connection, "SELECT quote_literal(pg_export_snapshot())");
            List<Future<?>> parts = new ArrayList<>();
            for (ResultSet chunk = connection.createStatement().executeQuery("SELECT predicate FROM chunked.split('event', 8)");
                    chunk.next();) {
                String predicate = chunk.getString(1);
                parts.add(pool.submit(() -> {
                    try (Connection worker = connect(); Statement statement = worker.createStatement()) {
                        worker.setAutoCommit(false);
                        worker.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
                        statement.execute("SET TRANSACTION SNAPSHOT " + snapshot);
                        statement.setFetchSize(1000);
                        for (ResultSet row = statement.executeQuery("SELECT * FROM event WHERE " + predicate); row.next();)
                            handler.row(row);
                    }
                    return null;
                }));
            }
            for (Future<?> part : parts) part.get();
        } finally {
            pool.shutdown();
        }
    }
    // [end]

    // [backfill]
    static void backfill(Connection connection) throws Exception {
        try (Statement call = connection.createStatement()) {
            Future<?> done = ForkJoinPool.commonPool().submit(() -> call.execute(
                "CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')"));
            SQLWarning seen = null;
            for (boolean over = false; !over;) {
                over = done.isDone();
                for (SQLWarning next = seen == null ? call.getWarnings() : seen.getNextWarning(); next != null;
                        next = seen.getNextWarning()) {
                    System.out.println(next.getMessage());
                    seen = next;
                }
                Thread.sleep(100);
            }
            done.get();
        }
    }
    // [end]

    // [worker]
    static String work(Connection connection, String job, Handler handler) throws Exception {
        try (PreparedStatement claim = connection.prepareStatement(
                "SELECT number, fence, predicate, state FROM chunked.claim_chunk(?)");
             PreparedStatement complete = connection.prepareStatement("SELECT chunked.complete_chunk(?, ?, ?)")) {
            claim.setString(1, job);
            complete.setString(1, job);
            while (true) {
                ResultSet chunk = claim.executeQuery();
                chunk.next();
                String state = chunk.getString("state");
                if (state.equals("wait")) {
                    Thread.sleep(1000);
                } else if (!state.equals("claimed")) {
                    return state;
                } else {
                    try (Statement statement = connection.createStatement()) {
                        for (ResultSet row = statement.executeQuery("SELECT * FROM event WHERE "
                                + chunk.getString("predicate") + " ORDER BY id"); row.next();) handler.row(row);
                    }
                    complete.setLong(2, chunk.getLong("number"));
                    complete.setLong(3, chunk.getLong("fence"));
                    complete.execute();
                }
            }
        }
    }
    // [end]

    // Their checks

    static Connection connect() throws SQLException {
        // No Unix sockets in this driver without further libraries: stacks.py says where the server listens
        return DriverManager.getConnection(System.getenv("CLIENTS_JDBC_URL"));
    }

    static void expect(String what, Object got, Object expected) {
        if (!got.equals(expected)) throw new AssertionError(what + ": " + got + ", not " + expected);
    }

    static void check(Connection connection) throws Exception {
        int count = ((Long) one(connection, "SELECT count(*) FROM event")).intValue();
        List<Long> everything = new ArrayList<>(), backwards = new ArrayList<>();
        for (long i = 1; i <= count; i++) everything.add(i);
        for (long i = count; i >= 1; i--) backwards.add(i);
        List<Long> seen = Collections.synchronizedList(new ArrayList<>());
        Handler collect = row -> seen.add(row.getLong(1));

        walk(connection, "{}", collect);
        expect("walk", seen, everything);
        seen.clear();
        Path file = Files.createTempDirectory("recipes").resolve("position");
        try (Connection another = connect()) {
            resume(another, file, row -> {
                if (seen.size() == count / 2) throw new InterruptedException();
                collect.row(row);
            });
        } catch (InterruptedException stopped) {
            expect("as far as it went", seen, everything.subList(0, count / 2));
        }
        seen.subList(count / 2 / 1000 * 1000, count / 2).clear();   // they come again
        resume(connection, file, collect);
        expect("resume", seen, everything);
        Files.delete(file);
        Files.delete(file.getParent());
        expect("last page", lastPage(connection, "{}"), everything.subList(count - 1000, count));
        expect("backwards", lastPage(connection, "{\"id\": 1501}"), everything.subList(500, 1500));
        seen.clear();
        newestFirst(connection, 7, "' OR true --", collect);
        List<Long> sevens = new ArrayList<>(backwards);
        sevens.removeIf(id -> id % 10 != 7);
        expect("order and filter", seen, sevens);
        seen.clear();
        withOrders(connection, collect);
        expect("relations", seen, everything);
        seen.clear();
        numbered(connection, collect);
        expect("pages", seen, everything.subList(count - 100, count));
        seen.clear();
        export(row -> {
            synchronized (seen) {
                if (seen.isEmpty()) connection.createStatement().execute("UPDATE event SET kind = kind + 10");
                collect.row(row);
            }
            expect("snapshot", row.getInt("kind") < 10, true);
        });
        Collections.sort(seen);
        expect("split", seen, everything);
        PrintStream out = System.out;
        ByteArrayOutputStream notices = new ByteArrayOutputStream();
        System.setOut(new PrintStream(notices));
        backfill(connection);
        System.setOut(out);
        expect("progress", notices.toString().matches("(?s).*\\d+%.*is done: .* " + count + " rows.*"), true);
        expect("backfill", one(connection, "SELECT count(*) FROM event WHERE name LIKE 'EVENT %'"), (long) count);
        seen.clear();
        expect("worker", work(connection, (String) one(connection, "SELECT chunked.create_job('event')"), collect), "done");
        expect("its rows", seen, everything);
    }

    // What stacks.py measures

    static int done = 0;

    static void bench(Connection connection, String way) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        Handler handler = row -> {
            row.getLong(1);
            row.getObject(2, java.time.OffsetDateTime.class);
            row.getInt(3);
            row.getString(4);
            if (done++ == 0) System.out.println("first");
        };
        System.out.println("ready JDBC " + connection.getMetaData().getDriverVersion());
        input.readLine();
        if (way.equals("ours")) {
            walk(connection, "{}", handler);
        } else {
            connection.setAutoCommit(false);
            Statement statement = connection.createStatement();
            if (way.equals("stream")) statement.setFetchSize(1000);
            for (ResultSet row = statement.executeQuery("SELECT * FROM event ORDER BY id"); row.next();) handler.row(row);
            connection.commit();
        }
        System.out.println("done " + done);
        input.readLine();
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = connect()) {
            if (arguments[0].equals("check")) check(connection);
            else bench(connection, arguments[1]);
        }
    }
}
