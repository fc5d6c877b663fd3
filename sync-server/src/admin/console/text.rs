//! What the console says, in English and Vietnamese. Every word that is shown is here.

use dinh_proto::error::RejectCode;

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lang {
    /// English.
    En,
    /// Vietnamese.
    Vi,
}

impl Lang {
    /// What an `Accept-Language` header likes best of those that there are.
    pub(crate) fn of(accepted: &str) -> Self {
        let weight = |wanted: &str| {
            let weights = accepted.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let language = parts.next()?.split('-').next()?;
                let weight =
                    parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
                weight.filter(|_| language.eq_ignore_ascii_case(wanted))
            });
            weights.fold(0.0, f64::max)
        };
        if weight("vi") > weight("en") { Self::Vi } else { Self::En }
    }

    /// For `lang` attributes.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Vi => "vi",
        }
    }

    pub(super) fn texts(self) -> &'static Texts {
        match self {
            Self::En => &EN,
            Self::Vi => &VI,
        }
    }
}

macro_rules! texts {
    ($($key:ident: $en:literal, $vi:literal;)+) => {
        /// The table.
        #[derive(Debug)]
        pub(super) struct Texts {
            $(pub(super) $key: &'static str,)+
        }

        static EN: Texts = Texts { $($key: $en,)+ };
        static VI: Texts = Texts { $($key: $vi,)+ };
    };
}

texts! {
    name: "Dinh relay", "Trạm Dinh";
    overview: "Overview", "Tổng quan";
    connections: "Connections", "Kết nối";
    spaces: "Spaces", "Không gian";
    space: "Space", "Không gian";
    devices: "Devices", "Thiết bị";
    device: "Device", "Thiết bị";
    rejects: "Refusals", "Từ chối";
    backups: "Backups", "Sao lưu";
    configuration: "Configuration", "Cấu hình";
    sign_in: "Sign in", "Đăng nhập";
    sign_out: "Sign out", "Đăng xuất";
    token: "Token", "Mã truy cập";
    token_where: "It stands in admin.json of the relay's data directory. A link that signs you in is printed by:",
        "Mã nằm trong tệp admin.json ở thư mục dữ liệu của trạm. Lệnh sau in ra liên kết để đăng nhập:";
    token_wrong: "This is not the token.", "Mã truy cập không đúng.";
    link_used: "This link was used already or is too old. Make a new one, or give the token.",
        "Liên kết này đã được dùng hoặc đã hết hạn. Hãy tạo liên kết mới hoặc nhập mã truy cập.";
    ready: "Ready: devices are served", "Sẵn sàng: đang phục vụ thiết bị";
    read_only: "Read-only: the volume of the data directory is nearly full. Devices read, and keep what they write. Free some space.",
        "Chỉ đọc: ổ đĩa chứa dữ liệu sắp đầy. Thiết bị vẫn đọc được và giữ lại những gì chúng viết. Hãy giải phóng dung lượng.";
    unready: "Not ready", "Chưa sẵn sàng";
    per_second: "/s", "/giây";
    received: "in", "vào";
    sent: "out", "ra";
    ack_time: "Time to ack", "Thời gian xác nhận";
    fan_out_time: "Fan-out lag", "Độ trễ phân phối";
    p50: "50 %", "50 %";
    p99: "99 %", "99 %";
    storage: "Storage", "Lưu trữ";
    in_file: "in the file", "trong tệp";
    free: "free", "còn trống";
    memory: "Memory", "Bộ nhớ";
    running: "Running", "Đã chạy";
    since: "since", "từ";
    last_backup: "Last backup", "Bản sao lưu gần nhất";
    none_known: "none known", "chưa có";
    branches: "branches", "chi bộ";
    items: "Items", "Mục";
    size: "Size", "Dung lượng";
    documents: "Documents", "Tài liệu";
    subscribers: "Connected", "Đang kết nối";
    last_activity: "Last activity", "Hoạt động gần nhất";
    before_start: "before the start", "trước khi khởi động";
    branch: "Branch", "Chi bộ";
    address: "Address", "Địa chỉ";
    connected_for: "Connected for", "Đã kết nối";
    lag: "Lag", "Chưa nhận";
    lag_items: "items", "mục";
    traffic: "Received / sent", "Nhận / gửi";
    queue: "Waiting to be sent", "Chờ gửi";
    in_log: "In the log", "Trong nhật ký";
    not_greeted: "not greeted yet", "chưa nhận diện";
    order_lag: "Most behind", "Chậm nhất";
    order_newest: "Newest", "Mới nhất";
    order_oldest: "Oldest", "Lâu nhất";
    order_bytes: "Most traffic", "Lưu lượng lớn nhất";
    order_size: "Largest", "Lớn nhất";
    order_activity: "Last active", "Hoạt động gần nhất";
    sorted: "Order", "Sắp xếp";
    page: "Page", "Trang";
    of: "of", "trên";
    previous: "Previous", "Trước";
    next: "Next", "Sau";
    nothing: "There is nothing here yet.", "Chưa có gì ở đây.";
    writers: "Writers (device and session)", "Nguồn ghi (thiết bị và phiên)";
    last_place: "Newest place in the log", "Vị trí mới nhất trong nhật ký";
    largest_documents: "Largest documents", "Tài liệu lớn nhất";
    connected_devices: "Connected devices", "Thiết bị đang kết nối";
    charter_space: "This is the space of the branch's charter: who is in it, its documents and keys.",
        "Đây là không gian quản lý của chi bộ: thành viên, tài liệu và khóa.";
    code: "Code", "Mã";
    count: "Count", "Số lần";
    meaning: "What it means", "Ý nghĩa";
    rejects_intro: "Items that were not taken since the relay started, by reason. The device keeps what was refused; nothing is lost.",
        "Các mục không được nhận từ khi trạm khởi động, theo lý do. Thiết bị vẫn giữ những gì bị từ chối, không mất gì cả.";
    traffic_tile: "Traffic", "Lưu lượng";
    rejects_lately: "in the last 5 min", "trong 5 phút qua";
    backup_none: "No backup is known since the relay started.", "Chưa ghi nhận bản sao lưu nào từ khi trạm khởi động.";
    backup_upto: "with everything up to place", "gồm mọi thứ đến vị trí";
    backup_after: "items came after it", "mục đến sau bản sao lưu này";
    backup_how: "A backup is made while the relay runs. Keep it on another machine. How it is made:",
        "Có thể sao lưu khi trạm đang chạy. Hãy giữ bản sao lưu ở máy khác. Cách làm:";
    backup_warn: "The last backup is older than two days.", "Bản sao lưu gần nhất đã quá hai ngày.";
    configuration_intro: "What holds now: the file, the environment and the command line together.",
        "Cấu hình đang dùng: gộp từ tệp, biến môi trường và dòng lệnh.";
    now: "now", "hiện tại";
    ago_before: "", "";
    ago_after: " ago", " trước";
    seconds: "s", "giây";
    minutes: "min", "phút";
    hours: "h", "giờ";
    days: "days", "ngày";
    version: "version", "phiên bản";
    epoch: "epoch", "kỷ nguyên";
    devices_intro: "Devices that are members of a branch here, or connected. Those that are connected come first.",
        "Các thiết bị thuộc một chi bộ ở trạm này hoặc đang kết nối. Thiết bị đang kết nối được xếp trước.";
    suspend: "Suspend", "Tạm ngưng";
    resume: "Resume", "Cho hoạt động lại";
    suspended: "suspended", "đang bị tạm ngưng";
    state: "State", "Trạng thái";
    reason: "Reason", "Lý do";
    not_found: "There is no such page or space.", "Không có trang hoặc không gian này.";
    blind: "The relay cannot read what devices store here, and knows no names.",
        "Trạm không đọc được nội dung thiết bị lưu ở đây và không biết tên ai.";
}

/// What a code means for whoever looks after the relay, and what to do.
pub(super) fn meaning(lang: Lang, code: RejectCode) -> &'static str {
    let (en, vi) = match code {
        RejectCode::Malformed => (
            "The bytes are no item. An app with a bug, or somebody who tries things out.",
            "Dữ liệu không đúng dạng. Ứng dụng bị lỗi, hoặc có người đang thử phá.",
        ),
        RejectCode::TooLarge => (
            "Larger than an item may be. An app with a bug.",
            "Lớn hơn mức cho phép của một mục. Ứng dụng bị lỗi.",
        ),
        RejectCode::BadSignature => (
            "The signature is not the author's: changed on its way, or forged.",
            "Chữ ký không phải của tác giả: bị sửa trên đường truyền hoặc giả mạo.",
        ),
        RejectCode::UnknownAuthor => (
            "The author is not known here yet. Normal while a new member's record is on its way; the device tries again.",
            "Trạm chưa biết tác giả. Bình thường khi bản ghi thành viên mới chưa tới; thiết bị sẽ gửi lại.",
        ),
        RejectCode::UnknownTarget => (
            "The space or document is not known here yet. Normal after a restore; the device tries again.",
            "Trạm chưa biết không gian hoặc tài liệu này. Bình thường sau khi khôi phục; thiết bị sẽ gửi lại.",
        ),
        RejectCode::NotAuthorised => (
            "The author or sender may not write there. Normal for a device that was removed.",
            "Tác giả hoặc người gửi không được ghi ở đó. Bình thường với thiết bị đã bị gỡ.",
        ),
        RejectCode::Gap => (
            "The item before it has not come yet. Normal for a moment; the device sends it again in order.",
            "Mục đứng trước chưa tới. Bình thường trong chốc lát; thiết bị sẽ gửi lại theo thứ tự.",
        ),
        RejectCode::BadLink => (
            "It does not continue what is stored. A phone that was restored from an old copy, or a bug.",
            "Không nối tiếp với phần đã lưu. Điện thoại khôi phục từ bản cũ, hoặc ứng dụng bị lỗi.",
        ),
        RejectCode::Fork => (
            "Two different items have the same number. A phone was copied or restored; it goes on by itself with a new session.",
            "Hai mục khác nhau mang cùng một số. Điện thoại đã bị sao chép hoặc khôi phục; thiết bị tự tiếp tục bằng phiên mới.",
        ),
        RejectCode::Duplicate => (
            "It is stored already. Normal after a broken connection; counts as stored.",
            "Mục này đã được lưu. Bình thường sau khi mất kết nối; tính là đã lưu.",
        ),
        RejectCode::Quota => (
            "A quota is used up. Look at which one in the metrics, and raise it if the use is honest.",
            "Đã hết hạn mức. Xem hạn mức nào trong số liệu đo, và nâng lên nếu việc sử dụng là chính đáng.",
        ),
        RejectCode::Unavailable => (
            "The relay could not store: look at disk and log. Or the space is suspended. The device tries again.",
            "Trạm không lưu được: hãy kiểm tra đĩa và nhật ký. Hoặc không gian đang bị tạm ngưng. Thiết bị sẽ gửi lại.",
        ),
        RejectCode::NotAdmitted => (
            "The branch is not admitted here yet: it needs a permit, or the configuration is closed to new branches. The device tries again.",
            "Chi bộ chưa được nhận ở trạm này: cần giấy phép, hoặc cấu hình đang đóng việc nhận chi bộ mới. Thiết bị sẽ gửi lại.",
        ),
        _ => ("", ""),
    };
    match lang {
        Lang::En => en,
        Lang::Vi => vi,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_that_is_liked_best() {
        for (accepted, lang) in [
            ("", Lang::En),
            ("vi", Lang::Vi),
            ("vi-VN,vi;q=0.9,en;q=0.8", Lang::Vi),
            ("en-GB,en;q=0.9,vi;q=0.8", Lang::En),
            ("fr, VI;q=0.5, en;q=0.4", Lang::Vi),
            ("de;q=x, *", Lang::En),
        ] {
            assert_eq!(Lang::of(accepted), lang, "{accepted}");
        }
    }

    #[test]
    fn every_code_has_a_meaning_in_both_languages() {
        for code in RejectCode::ALL {
            let (en, vi) = (meaning(Lang::En, *code), meaning(Lang::Vi, *code));
            assert!(en.len() > 20 && vi.len() > 20 && en != vi, "{code:?}");
        }
    }
}
