package rollcall;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.HashSet;
import java.util.Set;

/** What is between a client and the server: a port on this machine that passes everything on, until it breaks. */
final class Cable implements AutoCloseable {
	private final InetSocketAddress server;
	private final ServerSocket door;
	private final Set<Pair> pairs = new HashSet<>();
	/** Ends at the server that {@link #change} left, so that they stay open. */
	private final Set<Socket> left = new HashSet<>();
	private boolean plugged = true;
	private boolean mute;

	private record Pair(Socket client, Socket server) {
	}

	Cable(InetSocketAddress server) throws IOException {
		this.server = server;
		door = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
		start(this::accept);
	}

	int port() {
		return door.getLocalPort();
	}

	/** Ends every connection without a word, at both ends, and lets nobody through until {@link #plug}. */
	synchronized void pull() {
		plugged = false;
		mute = false;
		for (Pair pair : Set.copyOf(pairs)) {
			reset(pair.client);
			reset(pair.server);
		}
		pairs.clear();
	}

	/**
	 * Ends every connection for the client alone, as a change of networks does: the server keeps one that nobody
	 * reads and that says nothing any more. New connections get through.
	 */
	synchronized void change() {
		mute = false;
		for (Pair pair : Set.copyOf(pairs)) {
			pairs.remove(pair);
			reset(pair.client);
			left.add(pair.server);
		}
	}

	/** From now on what either end says gets lost, and neither notices; until the next break. */
	synchronized void mute() {
		mute = true;
	}

	synchronized void plug() {
		plugged = true;
	}

	@Override
	public void close() throws IOException {
		pull();
		synchronized (this) {
			left.forEach(Cable::reset);
		}
		door.close();
	}

	private void accept() {
		while (!door.isClosed()) {
			try {
				connect(door.accept());
			} catch (IOException e) {
				// The door was closed, or the server takes nobody: the client sees that its connection ends.
			}
		}
	}

	private void connect(Socket client) throws IOException {
		Socket upstream = new Socket();
		Pair pair = new Pair(client, upstream);
		synchronized (this) {
			if (!plugged) {
				reset(client);
				return;
			}
			pairs.add(pair);
		}
		try {
			upstream.connect(server);
		} catch (IOException e) {
			end(pair);
			throw e;
		}
		start(() -> pass(pair, client, upstream));
		start(() -> pass(pair, upstream, client));
	}

	private void pass(Pair pair, Socket from, Socket to) {
		byte[] buffer = new byte[16384];
		try {
			InputStream in = from.getInputStream();
			OutputStream out = to.getOutputStream();
			for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
				synchronized (this) {
					if (!pairs.contains(pair)) {
						return;
					}
					if (mute) {
						continue;
					}
				}
				out.write(buffer, 0, n);
			}
		} catch (IOException e) {
			// One of the two is gone: so is the other one, now.
		}
		end(pair);
	}

	private synchronized void end(Pair pair) {
		if (pairs.remove(pair)) {
			close(pair.client);
			close(pair.server);
		}
	}

	/** With SO_LINGER at 0 nothing that waits is sent any more, and the peer gets a reset. */
	private static void reset(Socket socket) {
		try {
			socket.setSoLinger(true, 0);
		} catch (IOException e) {
			// It is closed already.
		}
		close(socket);
	}

	private static void close(Socket socket) {
		try {
			socket.close();
		} catch (IOException e) {
			// Nobody uses it any more.
		}
	}

	private static void start(Runnable work) {
		Thread thread = new Thread(work, "cable");
		thread.setDaemon(true);
		thread.start();
	}
}
